/* SPDX-License-Identifier: MIT */
/*
 * DOC: Threads that send memory to the device
 */
#include <errno.h>
#include <sched.h>

#include "live/support/storm.h"

#define GUARD_SECONDS 20
#define FOLLOW_BYTES (4 * LIVE_PAGE)
#define THREADS_MAX 16

struct storm {
	struct live *live;
	unsigned char *at;
	size_t bytes;
	const uintptr_t *words;
	size_t word_count;
	struct live_counts before;
	struct live_thread *thread;
	uint32_t stop;   /* atomic */
	uint64_t rounds; /* atomic */
};

static void send_away(const struct storm *storm, const void *at, size_t bytes)
{
	int err = usvm_prefetch(storm->live->vm, at, bytes, USVM_PLACE_DEVICE);

	/* What is followed may be unmapped by now. */
	THREAD_CHECK(err == 0 || (err == -EFAULT && storm->words));
}

static void *storm_run(void *arg)
{
	struct storm *storm = arg;

	while (!__atomic_load_n(&storm->stop, __ATOMIC_ACQUIRE)) {
		if (!storm->words)
			send_away(storm, storm->at, storm->bytes);
		for (size_t i = 0; i < storm->word_count; i++) {
			uintptr_t at = __atomic_load_n(&storm->words[i], __ATOMIC_ACQUIRE);

			if (at)
				send_away(storm, (const void *)at, FOLLOW_BYTES);
		}
		__atomic_add_fetch(&storm->rounds, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static struct storm *start(const struct storm *what)
{
	struct storm *storm = malloc(sizeof(*storm));

	assert_non_null(storm);
	*storm = *what;
	storm->before = live_counts(storm->live);
	storm->thread = live_thread_start(storm_run, storm);
	while (!__atomic_load_n(&storm->rounds, __ATOMIC_ACQUIRE))
		sched_yield();
	return storm;
}

struct storm *storm_start(struct live *live, void *at, size_t bytes)
{
	return start(&(struct storm){ .live = live, .at = at, .bytes = bytes });
}

struct storm *storm_follow(struct live *live, const uintptr_t *at, size_t count)
{
	return start(&(struct storm){ .live = live, .words = at, .word_count = count });
}

void storm_stop(struct storm *storm)
{
	uint64_t rounds = __atomic_load_n(&storm->rounds, __ATOMIC_ACQUIRE);
	struct live_counts now;

	/* What the test brought home last goes once more. */
	while (__atomic_load_n(&storm->rounds, __ATOMIC_ACQUIRE) < rounds + 2)
		sched_yield();
	__atomic_store_n(&storm->stop, 1, __ATOMIC_RELEASE);
	live_thread_join(storm->thread);
	now = live_counts(storm->live);
	assert_true(now.to_device > storm->before.to_device);
	assert_true(now.home > storm->before.home);
	free(storm);
}

void storm_threads(void *(*run)(void *), void *args, size_t bytes, size_t count)
{
	struct live_thread *threads[THREADS_MAX];

	assert_true(count <= THREADS_MAX);
	for (size_t i = 0; i < count; i++)
		threads[i] = live_thread_start(run, (unsigned char *)args + i * bytes);
	for (size_t i = 0; i < count; i++)
		live_thread_join(threads[i]);
}

void storm_name(const struct live *live, const char *name)
{
	char text[128];

	snprintf(text, sizeof(text), "%s [%s%s]", name, live->param->copy ? "copy" : "move",
		 live->param->huge ? ", huge" : "");
	live_guard(text, GUARD_SECONDS);
}

uint64_t storm_random(uint64_t *state)
{
	*state = live_word(9, *state);
	return *state;
}
