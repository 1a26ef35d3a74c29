/* SPDX-License-Identifier: MIT */
void good(void)
{
	pthread_mutex_lock(&mutex);
	mmap(NULL, 4096, 0, 0, -1, 0);
	nanosleep(&time, NULL);
}
