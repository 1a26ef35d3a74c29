/* SPDX-License-Identifier: MIT */
#include "base/compiler.h"

/* A comment may say malloc(1), and a string may: both are fine. */
void bad(struct bad *bad)
{
	pthread_mutex_lock(&bad->mutex);
	bad->memory = mmap(NULL, 4096, 0, 0, -1, 0);
	madvise(bad->memory, 4096, 4);
	ioctl(bad->fd, 1);
	usleep(1);
	sleep(1);
	bad->number = rand();
	strcpy(bad->text, "malloc(");
	sprintf(bad->text, "%d", 1);
	free(malloc(1));
	printf("text");
	fprintf(stderr, "text");
	bad->ops->free(bad);
	pool_free(bad);
}
