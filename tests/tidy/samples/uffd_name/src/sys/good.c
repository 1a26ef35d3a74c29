/* SPDX-License-Identifier: MIT */
int good = UFFDIO_MOVE;
