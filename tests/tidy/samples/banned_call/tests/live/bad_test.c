/* SPDX-License-Identifier: MIT */
void bad(void)
{
	mmap(NULL, 4096, 0, 0, -1, 0);
	free(malloc(1));
	usleep(1);
}
