/* SPDX-License-Identifier: MIT */
/*
 * DOC: The shaker
 *
 * Most races need a thread to be held up between two instructions. A thread of low
 * priority is, whenever another becomes ready on its processor: so at random moments
 * a random thread of the process, usvm's or the program's, is bound to a processor,
 * or gives way to all others for a few milliseconds.
 */
#include <poll.h>
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "oracle.h"

#define SHAKEN_MAX 64u
#define REFRESH 64u

struct shaker {
	struct random random;
	pid_t self;
	cpu_set_t all;
	pid_t threads[SHAKEN_MAX];
	uint32_t count;
};

static struct shaker shaker;

static void list_threads(struct shaker *s)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;

	s->count = 0;
	while (dir && s->count < SHAKEN_MAX && (entry = readdir(dir))) {
		pid_t tid = atoi(entry->d_name);

		if (tid && tid != s->self)
			s->threads[s->count++] = tid;
	}
	if (dir)
		closedir(dir);
}

static void bind_thread(struct shaker *s, pid_t tid)
{
	uint32_t cpu = random_below(&s->random, (uint32_t)CPU_COUNT(&s->all) + 1);
	cpu_set_t one;

	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (CPU_ISSET(i, &s->all) && cpu-- == 0)
			CPU_SET(i, &one);
	}
	sched_setaffinity(tid, sizeof(one), CPU_COUNT(&one) ? &one : &s->all);
}

static void give_way(struct shaker *s, pid_t tid)
{
	struct timespec time = { .tv_nsec = 100000 + random_below(&s->random, 4000000) };
	struct sched_param param = { 0 };

	sched_setscheduler(tid, SCHED_IDLE, &param);
	ppoll(NULL, 0, &time, NULL); /* a shaker is about time */
	sched_setscheduler(tid, SCHED_OTHER, &param);
}

static void *shake(void *arg)
{
	struct shaker *s = arg;

	s->self = (pid_t)syscall(SYS_gettid);
	for (uint32_t i = 0;; i++) {
		if (i % REFRESH == 0)
			list_threads(s);
		if (!s->count)
			break;
		if (random_one_in(&s->random, 4))
			bind_thread(s, s->threads[random_below(&s->random, s->count)]);
		give_way(s, s->threads[random_below(&s->random, s->count)]);
	}
	return NULL;
}

void shake_start(uint64_t seed)
{
	sigset_t all, old;
	pthread_t thread;

	shaker.random.state = seed;
	sched_getaffinity(0, sizeof(shaker.all), &shaker.all);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (!pthread_create(&thread, NULL, shake, &shaker))
		pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}
