/* SPDX-License-Identifier: MIT */
/*
 * tests/install/main.c - a program outside of the tree, built with pkg-config.
 *
 * It needs no userfaultfd: what is tested is that the installed header, library
 * and usvm.pc fit together.
 */
#include <stdio.h>
#include <string.h>

#include <usvm/usvm.h>

int main(void)
{
	if (strcmp(usvm_version(), EXPECTED_VERSION) != 0) {
		fprintf(stderr, "usvm_version() is %s, usvm.pc says %s\n", usvm_version(),
			EXPECTED_VERSION);
		return 1;
	}
	return usvm_strerror(0) ? 0 : 1;
}
