/* SPDX-License-Identifier: MIT */
#include "matrix.h"
const char *machine_prepare(uint32_t flags) { (void)flags; return NULL; }
void machine_restore(void) {}
