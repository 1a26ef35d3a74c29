/* SPDX-License-Identifier: MIT */
/*
 * tests/matrix/rows.h - the functions that rows.inc names.
 */
#ifndef TESTS_MATRIX_ROWS_H
#define TESTS_MATRIX_ROWS_H

#include "matrix.h"

#define GROUP(title)
#define ROW(name, title, memory, prepare, act, flags) \
	void prepare(struct cell *c);                 \
	void act(struct cell *c);
#include "rows.inc"
#undef GROUP
#undef ROW

#endif
