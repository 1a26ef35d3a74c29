/* SPDX-License-Identifier: MIT */
/*
 * mm/good.c - breaks no rule.
 */
#include "mm/good.h"

static int half(int number)
{
	return number /
	       2;
}

int good(int number)
{
	if (number < 0)
		return -EINVAL; /* N1 */
	return half(number);
}
