/* SPDX-License-Identifier: MIT */
#ifndef MM_TYPO_H
#define MM_TIPO_H
#endif
