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

#include "stress.h"

#define SHARED_MAX 3
#define CHILD_SECONDS 60

struct lower {
	uint64_t counter[2], slot[AGENT_COUNT];
};

/* Of all pages that a child checks by bounds, what was done before the fork. */
struct family {
	struct hold exact;
	struct hold shared[SHARED_MAX];
	uint32_t shared_count;
	struct lower lower[SHARED_MAX][AREA_PAGES_MAX];
};

static struct family families[THREAD_COUNT];

static void note_lower(const struct hold *hold, struct lower *lower)
{
	for (uint32_t i = 0; i < hold->count; i++) {
		struct shadow *shadow = &hold->area->shadow[hold->first + i];

		for (uint32_t j = 0; j < 2; j++)
			lower[i].counter[j] = LOAD(&shadow->counter[j].done);
		for (uint32_t j = 0; j < AGENT_COUNT; j++)
			lower[i].slot[j] = LOAD(&shadow->slot[j].done);
	}
}

static void wrong(const struct hold *hold, uint32_t page, const char *what, uint64_t word,
		  uint64_t low, uint64_t high, uint64_t found)
{
	dprintf(STDERR_FILENO, "in child %d: area %u page %u word %" PRIu64 " at %p: %s should be "
		"%#" PRIx64 " to %#" PRIx64 ", found %#" PRIx64 "\n", getpid(),
		hold->area->index, page, word,
		(void *)&page_words(hold->area, page)[word], what, low, high, found);
	_exit(1);
}

static void check_exact(const struct hold *hold, uint64_t salt)
{
	struct mismatch m;

	for (uint32_t i = 0; i < hold->count; i++) {
		bool all = (i + salt) % 8 == 0;

		if (!check_page(hold->area, i, TAG_FIRST + (i + salt) % 500, all ? 512 : 4, true,
				&m))
			wrong(hold, i, "an exact word", m.word, m.low, m.high, m.found);
	}
}

static void check_between(const struct hold *hold, uint32_t page, uint64_t word, uint64_t low,
			  const struct bounds *bounds, uint64_t id)
{
	uint64_t found = page_words(hold->area, page)[word];
	uint64_t high = LOAD(&bounds->begun), value = found;

	if (id && value) {
		if (value >> 40 != id)
			wrong(hold, page, "the id of a slot", word, id, id, found);
		value &= (1ull << 40) - 1;
	}
	if (value < low || value > high)
		wrong(hold, page, "a word", word, low, high, found);
}

static void check_bounds(const struct hold *hold, const struct lower *lower, uint64_t salt)
{
	for (uint32_t i = 0; i < hold->count; i++) {
		uint32_t page = hold->first + i, word = TAG_FIRST + (i + salt) % 500;
		struct shadow *shadow = &hold->area->shadow[page];
		uint64_t id = page_id(hold->area->index, page);
		uint64_t tag = tag_value(id, LOAD(&shadow->tag), word);

		check_between(hold, page, 0, lower[i].counter[0], &shadow->counter[0], 0);
		check_between(hold, page, PAGE_WORDS - 1, lower[i].counter[1],
			      &shadow->counter[1], 0);
		for (uint32_t j = 0; j < AGENT_COUNT; j++)
			check_between(hold, page, SLOT_WORD(j), lower[i].slot[j],
				      &shadow->slot[j], id);
		if (page_words(hold->area, page)[word] != tag)
			wrong(hold, page, "a tag", word, tag, tag,
			      page_words(hold->area, page)[word]);
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
		check_bounds(&family->shared[i], family->lower[i], salt);
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

void op_fork(struct worker *worker)
{
	bool raw = random_one_in(&worker->random, 3);
	struct family *family = &families[worker->thread];
	struct area *area = &areas[random_below(&worker->random, AREA_COUNT)];
	uint64_t salt = random_next(&worker->random) >> 8;
	int status = 0;
	pid_t pid;

	if (!hold_whole(area, true, &family->exact)) {
		worker->missed++;
		return;
	}
	family->shared_count = 0;
	for (uint32_t i = 0; i < 2 * SHARED_MAX && family->shared_count < SHARED_MAX; i++) {
		struct hold *hold = &family->shared[family->shared_count];

		if (hold_some(&worker->random, false, 256, hold))
			note_lower(hold, family->lower[family->shared_count++]);
	}
	area_note(area, worker->thread, raw ? "_Fork" : "fork", 0, area->pages);
	pid = raw ? _Fork() : fork();
	if (pid == 0)
		child_run(family, salt);
	if (pid < 0)
		report_failure(area, "fork", errno);
	area_note(area, worker->thread, "forked", 0, area->pages);
	if (wait_child(pid, &status) != pid || status)
		report_failure(area, "a child was wrong, status", status);
	check_held(&family->exact, worker->thread, &worker->random, "after fork");
	for (uint32_t i = 0; i < family->shared_count; i++)
		hold_release(&family->shared[i]);
	hold_release(&family->exact);
	worker->forks++;
}
