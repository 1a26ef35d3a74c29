/* SPDX-License-Identifier: MIT */
#ifndef MM_BAD_H
#define MM_BAD_H

/* TODO: finish. */
int bad; /* FIXME */

#endif
