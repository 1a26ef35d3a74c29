/* SPDX-License-Identifier: MIT */
int none;
