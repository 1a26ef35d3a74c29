/* SPDX-License-Identifier: MIT */
/*
 * DOC: Children
 *
 * A child finds what its parent had. Of the area that the parent had locked it checks
 * each word; of others, which change while the parent forks, bounds: what was done
 * before fork() was called, and what has begun by now. Then it writes into what it has,
 * which the parent must not see, forks in its turn now and then, and ends.
 *
 * It calls nothing that a child of _Fork() may not call.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oracle.h"

#define SHARED_MAX 3
#define SHARED_PAGES 256
#define CHILD_SECONDS 60

/* Of pages that a child checks by bounds, what was done before the fork. */
struct family {
	struct hold exact;
	struct hold shared[SHARED_MAX];
	uint32_t shared_count;
	struct shadow before[SHARED_MAX][SHARED_PAGES];
};

static struct family families[THREADS_MAX];

static void note_before(const struct hold *hold, struct shadow *before)
{
	for (uint32_t i = 0; i < hold->count; i++) {
		const uint64_t *from = (const void *)&hold->area->shadow[hold->first + i];
		uint64_t *to = (void *)&before[i];

		before[i].races = LOAD(&hold->area->shadow[hold->first + i].races);
		for (uint32_t j = 0; j < offsetof(struct shadow, races) / 8; j++)
			to[j] = LOAD(&from[j]);
	}
}

static _Noreturn void wrong(const struct hold *hold, uint32_t page, const char *what,
			    uint64_t word, uint64_t low, uint64_t high, uint64_t found)
{
	report_child("  in child %d: area %u page %u word %" PRIu64 " at %p: %s should be %#"
		     PRIx64 " to %#" PRIx64 ", found %#" PRIx64 "\n", getpid(),
		     hold->area->index, page, word,
		     (void *)&page_words(hold->area, page)[word], what, low, high, found);
}

static void check_exact(const struct hold *hold, uint64_t salt)
{
	struct mismatch m;

	for (uint32_t i = 0; i < hold->count; i++) {
		bool all = (i + salt) % 8 == 0;

		if (!check_page(hold->area, i, TAG_FIRST + (i + salt) % TAG_COUNT,
				all ? TAG_END : 4, true, &m))
			wrong(hold, i, "an exact word", m.word, m.low, m.high, m.found);
	}
}

/* Bounds of a word in a child: done before the fork, begun by now. */
struct bounds_seen {
	uint64_t low, lost_min, high, found;
};

static bool is_between(const struct bounds_seen *seen, uint64_t id)
{
	uint64_t value = id ? seen->found & ((1ull << 40) - 1) : seen->found;

	if (id && seen->found && (seen->found >> 40 != id || value <= seen->lost_min))
		return false;
	return value >= seen->low && value <= seen->high;
}

static void check_word(const struct hold *hold, uint32_t page, uint64_t word,
		       const struct bounds *before, const struct bounds *now, uint64_t id,
		       uint64_t races)
{
	struct bounds_seen seen = {
		.low = low_bound(before->done, before->lost_max, id),
		.lost_min = before->lost_min,
		.high = high_bound(LOAD(&now->begun), before->lost_min, id),
		.found = page_words(hold->area, page)[word],
	};

	if (is_between(&seen, id) || LOAD(&hold->area->shadow[page].races) != races)
		return;
	wrong(hold, page, id ? "a slot" : "a counter", word, seen.low, seen.high, seen.found);
}

static void check_bounds(const struct hold *hold, const struct shadow *before, uint64_t salt)
{
	for (uint32_t i = 0; i < hold->count; i++, before++) {
		uint32_t page = hold->first + i, word = TAG_FIRST +
						 (uint32_t)((i + salt) % TAG_COUNT);
		struct shadow *shadow = &hold->area->shadow[page];
		uint64_t id = page_id(hold->area->index, page);
		uint64_t tag = tag_value(id, before->tag, word);
		uint64_t found = page_words(hold->area, page)[word];

		if (before->races & 1)
			continue;
		for (uint32_t j = 0; j < 2; j++)
			check_word(hold, page, j ? PAGE_WORDS - 1 : 0, &before->counter[j],
				   &shadow->counter[j], 0, before->races);
		for (uint32_t j = 0; j < AGENTS_MAX; j++)
			check_word(hold, page, SLOT_WORD(j), &before->slot[j],
				   &shadow->slot[j], id, before->races);
		if (found != tag && LOAD(&shadow->races) == before->races)
			wrong(hold, page, "a tag", word, tag, tag, found);
	}
}

static void spoil(const struct hold *hold, uint64_t salt)
{
	for (uint32_t i = salt % 4; i < hold->count; i += 4) {
		volatile uint64_t *words = page_words(hold->area, hold->first + i);

		for (uint32_t word = 0; word < PAGE_WORDS; word += 37)
			words[word] = 0xDEADDEADDEADDEADu;
		words[PAGE_WORDS - 1] = 0xDEADDEADDEADDEADu;
	}
}

static pid_t wait_child(pid_t pid, int *status)
{
	pid_t got;

	do
		got = waitpid(pid, status, 0);
	while (got < 0 && errno == EINTR);
	return got;
}

static void check_family(const struct family *family, uint64_t salt)
{
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(CHILD_SECONDS); /* it tells nobody of its progress */
	if (salt % 2)
		check_exact(&family->exact, salt);
	for (uint32_t i = 0; i < family->shared_count; i++)
		check_bounds(&family->shared[i], family->before[i], salt);
	if (salt % 2 == 0)
		check_exact(&family->exact, salt);
}

static void child_run(const struct family *family, uint64_t salt)
{
	int status;
	pid_t pid;

	check_family(family, salt);
	if (salt % 8 == 0) {
		pid = _Fork();
		if (pid == 0) {
			check_family(family, salt / 8);
			_exit(0);
		}
		if (pid > 0 && (wait_child(pid, &status) != pid || status))
			wrong(&family->exact, 0, "a grandchild's status", 0, 0, 0,
			      (uint64_t)status);
	}
	spoil(&family->exact, salt);
	_exit(0);
}

void op_fork(struct worker *worker, struct hold *hold)
{
	bool raw = random_one_in(&worker->random, 3);
	struct family *family = &families[worker->thread];
	struct area *area = hold->area;
	uint64_t salt = random_next(&worker->random) >> 8;
	int status = 0;
	pid_t pid;

	family->exact = *hold;
	family->shared_count = 0;
	for (uint32_t i = 0; i < 2 * SHARED_MAX && family->shared_count < SHARED_MAX; i++) {
		struct hold *other = &family->shared[family->shared_count];

		if (hold_some(&worker->random, SHARED_PAGES, other))
			note_before(other, family->before[family->shared_count++]);
	}
	place(worker, hold);
	area_note(area, worker->thread, raw ? "_Fork" : "fork", 0, area->pages);
	STORE(&run->disturbed_pages, area->pages);
	STORE(&run->disturbed, (uintptr_t)area->base);
	pid = raw ? _Fork() : fork();
	if (pid == 0)
		child_run(family, salt);
	if (pid < 0)
		report_failure(area, "fork", errno);
	area_note(area, worker->thread, "forked", 0, area->pages);
	if (wait_child(pid, &status) != pid ||
	    (status && !(raw && !run->fork_events && WTERMSIG(status) == SIGSEGV)))
		report_failure(area, "a child was wrong", status);
	STORE(&run->disturbed, 0);
	check_held(hold, worker->thread, &worker->random, "after fork");
	for (uint32_t i = 0; i < family->shared_count; i++)
		hold_release(&family->shared[i]);
	worker->forks++;
}
