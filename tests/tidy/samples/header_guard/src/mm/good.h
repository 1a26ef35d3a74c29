/* SPDX-License-Identifier: MIT */
#ifndef MM_GOOD_H
#define MM_GOOD_H
#endif
