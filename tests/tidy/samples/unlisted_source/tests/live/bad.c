/* SPDX-License-Identifier: MIT */
int bad;
