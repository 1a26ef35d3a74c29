/* SPDX-License-Identifier: MIT */
/*
 * tests/layers/link.c - the program of every link test.
 *
 * It does nothing: that a layer links with only the layers it may use is the
 * whole test.
 */
int main(void)
{
	return 0;
}
