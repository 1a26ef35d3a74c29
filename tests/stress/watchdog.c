/* SPDX-License-Identifier: MIT */
/*
 * DOC: The watchdog
 *
 * A thread that reads nothing but shared memory and its own stack, which no device can
 * have: when everything waits for itself, it tells how far each thread came and in what
 * it sleeps, and ends the process.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "stress.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STILL_SECONDS 100
#else
#define STILL_SECONDS 20
#endif

static void show_file(pid_t tid, const char *name)
{
	char path[64], text[256];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	while (got > 0 && text[got - 1] == '\n')
		got--;
	dprintf(STDERR_FILENO, " %.*s", got > 0 ? (int)got : 0, text);
}

/* By /proc alone. Threads of a process have numbers near its own. */
static void show_threads(void)
{
	for (pid_t tid = getpid(), last = tid + 64; tid < last; tid++) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/self/task/%d", tid);
		if (access(path, F_OK))
			continue;
		dprintf(STDERR_FILENO, "  %d", tid);
		show_file(tid, "comm");
		show_file(tid, "wchan");
		show_file(tid, "syscall");
		dprintf(STDERR_FILENO, "\n");
	}
}

static void give_up(void)
{
	dprintf(STDERR_FILENO, "HANG (seed %" PRIu64 "): no progress for %d s\n", run->seed,
		STILL_SECONDS);
	for (uint32_t i = 0; i < THREAD_COUNT; i++) {
		struct worker *w = &run->workers[i];

		dprintf(STDERR_FILENO, "  thread %u: %" PRIu64 " operations, now %s; queue: %"
			PRIu64 " pages\n", i, LOAD(&w->ops), LOAD(&w->doing),
			LOAD(&w->job.result->progress));
	}
	show_threads();
	abort();
}

static void *watch(void *arg)
{
	uint64_t seen[THREAD_COUNT][2] = { 0 };
	uint32_t still[THREAD_COUNT][2] = { 0 };

	(void)arg;
	for (;;) {
		poll(NULL, 0, 1000); /* a watchdog is about time */
		for (uint32_t i = 0; i < THREAD_COUNT; i++) {
			struct worker *w = &run->workers[i];
			uint64_t now[2] = { LOAD(&w->ops),
					    LOAD(&w->job.result->progress) };

			/* A queue may be idle for a while; an operation may wait for a job. */
			still[i][0] = now[0] == seen[i][0] ? still[i][0] + 1 : 0;
			still[i][1] = now[1] == seen[i][1] ? still[i][1] + 1 : 0;
			memcpy(seen[i], now, sizeof(now));
			if (still[i][0] >= STILL_SECONDS && still[i][1] >= STILL_SECONDS)
				give_up();
		}
	}
	return NULL;
}

void watchdog_start(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, watch, NULL)) {
		perror("pthread_create");
		exit(1);
	}
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}
