/* SPDX-License-Identifier: MIT */
/*
 * System calls that are given memory on the device: section F.
 *
 * The kernel waits for a page as a thread does, where the process may ask it to
 * (kernel_faults): then each call works, and brings home what it touches. Where it may
 * not, memory stays at home, unless migrate=always: then each call fails with an error
 * that says so, and nothing is lost.
 */
#include <sys/mman.h>

#include "live/support/calls.h"

#define GUARD_SECONDS 20

/* One row in one mode. */
struct test {
	const struct call *call;
	const struct live_param *param;
	bool user_faults; /* the kernel may not wait */
	char name[128];
};

struct run {
	const struct test *test;
	struct live live;
	struct call_area *area;
};

/* --- opening ---------------- */

static int setup(void **state)
{
	const struct test *test = *state;
	struct run *run = calloc(1, sizeof(*run));

	assert_non_null(run);
	live_guard(test->name, GUARD_SECONDS);
	run->test = test;
	if (test->user_faults)
		call_open_user_faults(&run->live, test->param);
	else
		live_open(&run->live, test->param, test->param->spec);
	*state = run;
	return 0;
}

static int teardown(void **state)
{
	struct run *run = *state;

	if (run->test->user_faults)
		call_close_user_faults(&run->live);
	else
		live_close(&run->live);
	free(run);
	live_guard(NULL, 0);
	return 0;
}

/* --- a row ---------------- */

static void map_area(struct run *run)
{
	const struct call *call = run->test->call;
	size_t bytes = live_bytes(&run->live);
	struct call_area *a;

	a = mmap(NULL, LIVE_PAGE + bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(a, MAP_FAILED);
	a->other = (unsigned char *)a + LIVE_PAGE;
	a->bytes = bytes;
	live_fill(a->other, bytes, 2, 0);
	run->area = a;
	if (call->begin)
		call->begin(a);
	a->at = live_filled(&run->live, bytes, 1);
	a->argument = a->at + CALL_ARGUMENT_PAGE;
	if (call->prepare)
		call->prepare(a);
}

static void unmap_area(struct run *run)
{
	struct call_area *a = run->area;

	if (run->test->call->end)
		run->test->call->end(a);
	munmap(a->at, a->bytes);
	munmap(a, LIVE_PAGE + a->bytes);
}

/* To the device, and the proof: where it is, and what it is. */
static struct live_counts take_area(struct run *run)
{
	struct call_area *a = run->area;
	struct live *live = &run->live;
	struct live_counts before = live_counts(live);

	live_take(live, a->at, a->bytes);
	live_assert_state(live, a->at, a->bytes, LIVE_DEVICE);
	live_assert_counts(live, before, a->bytes / LIVE_PAGE, 0);
	gpu_assert_filled(live, a->at, CALL_ARGUMENT_PAGE, 1, 0);
	live_assert_state(live, a->at, a->bytes, LIVE_DEVICE);
	return live_counts(live);
}

/* What came home is what pagemap sees and what was counted; the rest is where it was.
 * Return: how many pages. */
static uint64_t count_home(struct run *run, struct live_counts before)
{
	struct call_area *a = run->area;
	uint64_t pages[4];

	assert_int_equal(usvm_query_span(run->live.vm, a->at, a->bytes, pages), 0);
	assert_int_equal(pages[USVM_PAGE_HOME] + pages[USVM_PAGE_DEVICE],
			 a->bytes / LIVE_PAGE);
	assert_int_equal(live_present(a->at, a->bytes), pages[USVM_PAGE_HOME]);
	live_assert_counts(&run->live, before, 0, pages[USVM_PAGE_HOME]);
	return pages[USVM_PAGE_HOME];
}

/* What neither call nor preparation wrote to. */
static void assert_rest(const struct call_area *a, uint64_t seed)
{
	size_t behind = CALL_ARGUMENT_PAGE + LIVE_PAGE;

	live_assert_filled(a->at, CALL_ARGUMENT_PAGE, seed, 0);
	live_assert_filled(a->at + behind, a->bytes - behind, seed, behind);
}

/* After a call that was served. */
static void assert_contents(struct run *run)
{
	enum call_kind kind = run->test->call->kind;
	struct call_area *a = run->area;
	uint64_t seed = kind == CALL_WRITES ? 2 : 1;

	if (kind == CALL_READS)
		live_assert_filled(a->other, a->bytes, 1, 0);
	if (kind != CALL_ARGUMENT)
		live_assert_filled(a->at, a->bytes, seed, 0);
	assert_rest(a, seed);
	/* The GPU sees the same. */
	live_take(&run->live, a->at, a->bytes);
	live_assert_state(&run->live, a->at, a->bytes, LIVE_DEVICE);
	if (kind != CALL_ARGUMENT)
		gpu_assert_filled(&run->live, a->at, a->bytes, seed, 0);
	assert_rest(a, seed);
}

static void skip_call(struct run *run)
{
	printf("SKIP: %s: %s\n", run->test->name, run->area->why);
	unmap_area(run);
	skip();
}

static void is_served(void **state)
{
	struct run *run = *state;
	struct live_counts before;
	uint64_t home;
	int err;

	map_area(run);
	before = take_area(run);
	err = run->test->call->act(run->area);
	if (err == CALL_SKIPPED)
		skip_call(run);
	assert_int_equal(err, 0);
	home = count_home(run, before);
	if (run->test->call->kind != CALL_ARGUMENT)
		assert_int_equal(home, run->area->bytes / LIVE_PAGE);
	assert_true(home > 0);
	assert_contents(run);
	unmap_area(run);
}

/* The error, and right contents; once the CPU has touched the memory the call works. */
static void is_refused(void **state)
{
	struct run *run = *state;
	struct call_area *a;
	struct live_counts before;
	int err;

	map_area(run);
	a = run->area;
	before = take_area(run);
	err = run->test->call->act(a);
	if (err == CALL_SKIPPED)
		skip_call(run);
	assert_int_equal(err, run->test->call->refused);
	assert_int_equal(count_home(run, before), 0);
	live_assert_filled(a->other, a->bytes, 2, 0);
	gpu_assert_filled(&run->live, a->at, CALL_ARGUMENT_PAGE, 1, 0);
	assert_rest(a, 1);

	for (size_t i = 0; i < a->bytes; i += LIVE_PAGE)
		((volatile unsigned char *)a->at)[i];
	live_assert_state(&run->live, a->at, a->bytes, LIVE_HOME);
	assert_int_equal(run->test->call->act(a), 0);
	assert_contents(run);
	unmap_area(run);
}

/* --- main ---------------- */

#define TESTS_MAX 512

static struct test tests[TESTS_MAX];
static struct CMUnitTest units[TESTS_MAX];
static size_t test_count;

static void add(const struct call *call, const char *name, CMUnitTestFunction function,
		bool user_faults)
{
	static const struct {
		const struct live_param *param;
		const char *name;
	} modes[] = {
		{ &live_move, "move" },
		{ &live_copy, "copy" },
		{ &live_move_huge, "move, huge" },
		{ &live_copy_huge, "copy, huge" },
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		struct test *test = &tests[test_count];

		*test = (struct test){ call, modes[i].param, user_faults, "" };
		snprintf(test->name, sizeof(test->name), "%s [%s%s]", name, modes[i].name,
			 user_faults ? ", no kernel faults" : "");
		units[test_count] = (struct CMUnitTest){ test->name, function, setup,
							 teardown, test };
		test_count++;
	}
}

static void add_calls(const struct call *calls, size_t count)
{
	char name[96];

	for (size_t i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s is served", calls[i].name);
		add(&calls[i], name, is_served, false);
		snprintf(name, sizeof(name), "%s is refused", calls[i].name);
		add(&calls[i], name, is_refused, true);
	}
}

int main(void)
{
	add_calls(transfer_calls, transfer_call_count);
	add_calls(argument_calls, argument_call_count);
	return live_run(__FILE__, units, test_count);
}
