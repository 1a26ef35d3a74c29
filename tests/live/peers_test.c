/* SPDX-License-Identifier: MIT */
/*
 * Two devices that are peers: what one has comes to the other without coming home between, in
 * every pair of modes, whatever the program does meanwhile; and is used in place where that is
 * asked for. What came home between is counted, and so told from what did not.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live/support/live.h"

#define MINUTE_NS 60000000000ull
#define PAGES 64
#define ROUNDS 200

struct pair_param {
	struct live_param a, b;
};

struct pair {
	struct live a, b;
	const struct pair_param *param;
	struct live_counts before;
};

#define SPEC(mode) "model:thrash_control=no,mode=" mode
/* The pairs of modes; then of huge pages. */
static struct pair_param params[] = {
	{ { SPEC("move"), false, false }, { SPEC("move"), false, false } },
	{ { SPEC("move"), false, false }, { SPEC("copy"), true, false } },
	{ { SPEC("copy"), true, false }, { SPEC("move"), false, false } },
	{ { SPEC("copy"), true, false }, { SPEC("copy"), true, false } },
	{ { SPEC("move"), false, true }, { SPEC("move"), false, true } },
	{ { SPEC("move"), false, true }, { SPEC("copy"), true, true } },
	{ { SPEC("copy"), true, true }, { SPEC("move"), false, true } },
	{ { SPEC("copy"), true, true }, { SPEC("copy"), true, true } },
};

static int set_up(void **state)
{
	const struct pair_param *param = *state;
	struct pair *pair = calloc(1, sizeof(*pair));

	assert_non_null(pair);
	live_guard(param->a.spec, 20);
	pair->param = param;
	live_open(&pair->a, &param->a, param->a.spec);
	live_open(&pair->b, &param->b, param->b.spec);
	*state = pair;
	return 0;
}

static int tear_down(void **state)
{
	struct pair *pair = *state;

	live_close(&pair->a);
	live_close(&pair->b);
	free(pair);
	live_guard(NULL, 0);
	return 0;
}

/* --- where pages are ---------------- */

static void assert_with(const struct live *live, bool elsewhere, const unsigned char *at,
			size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		struct usvm_page_info info;

		assert_int_equal(usvm_query(live->vm, at + done, &info), 0);
		if (info.state != USVM_PAGE_DEVICE || info.is_elsewhere != elsewhere)
			fail_msg("page %zu of %zu is in state %u, %s", done / LIVE_PAGE,
				 bytes / LIVE_PAGE, info.state,
				 info.is_elsewhere ? "elsewhere" : "not elsewhere");
		done += info.run_bytes;
	}
}

/* @bytes at @at are on A, on B, and both say so. */
static void assert_on_a(const struct pair *pair, const unsigned char *at, size_t bytes)
{
	assert_with(&pair->a, false, at, bytes);
	assert_with(&pair->b, true, at, bytes);
}

static void assert_on_b(const struct pair *pair, const unsigned char *at, size_t bytes)
{
	assert_with(&pair->b, false, at, bytes);
	assert_with(&pair->a, true, at, bytes);
}

static uint64_t from_peers(const struct pair *pair)
{
	return live_stat(&pair->a, "usvm_pages_from_peer") +
	       live_stat(&pair->b, "usvm_pages_from_peer");
}

/* --- to and fro ---------------- */

static void pages_go_to_and_fro_and_never_home(void **state)
{
	struct pair *pair = *state;
	size_t bytes = live_bytes(&pair->a);
	unsigned char *at = live_on_device(&pair->a, bytes, 7);
	struct live_counts before = live_counts(&pair->a);
	uint64_t pages = bytes / LIVE_PAGE, expected = from_peers(pair);

	for (int i = 0; i < 4; i++) {
		live_take(&pair->b, at, bytes);
		assert_on_b(pair, at, bytes);
		gpu_assert_filled(&pair->b, at, bytes, 7, 0);
		live_take(&pair->a, at, bytes);
		assert_on_a(pair, at, bytes);
		gpu_assert_filled(&pair->a, at, bytes, 7, 0);
		expected += 2 * pages;
	}
	live_assert_counts(&pair->a, before, 0, 0);
	assert_int_equal(from_peers(pair), expected);
	live_assert_filled(at, bytes, 7, 0);
	live_assert_counts(&pair->a, before, 0, pages);
	/* Huge pages stay huge, but where a device's own memory is copied to small ones. */
	assert_int_equal(live_huge(at, bytes), pair->a.param->huge ? pages : 0);
}

/* Each round one device adds what the other has to see. */
static void what_one_wrote_the_other_reads(void **state)
{
	struct pair *pair = *state;
	unsigned char *at = live_on_device(&pair->a, LIVE_PAGE, 3);
	uint64_t *word = (uint64_t *)(void *)at;
	uint64_t first = gpu_read64(&pair->a, word);
	struct live_counts before = live_counts(&pair->a);

	for (uint64_t i = 0; i < ROUNDS; i += 2) {
		assert_int_equal(gpu_add64(&pair->b, word, 1), first + i);
		assert_int_equal(gpu_add64(&pair->a, word, 1), first + i + 1);
	}
	live_assert_counts(&pair->a, before, 0, 0);
	assert_int_equal(*word, first + ROUNDS);
	live_assert_filled(at + 8, LIVE_PAGE - 8, 3, 8);
}

static void a_prefetch_brings_what_is_in_three_places_together(void **state)
{
	struct pair *pair = *state;
	size_t part = PAGES * LIVE_PAGE, bytes = 4 * part;
	unsigned char *at = live_map(&pair->a, LIVE_HUGE);
	struct live_counts before;

	/* A quarter each: A, B, the process, nobody. */
	live_fill(at, 3 * part, 5, 0);
	live_take(&pair->a, at, part);
	live_take(&pair->b, at + part, part);
	assert_int_equal(usvm_prefetch(pair->a.vm, at, LIVE_HUGE, USVM_PLACE_SYSTEM), 0);
	assert_int_equal(madvise(at + 3 * part, LIVE_HUGE - 3 * part, MADV_DONTNEED), 0);
	live_take(&pair->b, at + part, LIVE_PAGE);
	assert_int_equal(usvm_prefetch(pair->b.vm, at, LIVE_HUGE, USVM_PLACE_SYSTEM), 0);
	live_take(&pair->a, at, LIVE_PAGE);
	(void)gpu_read64(&pair->b, at + part);
	before = live_counts(&pair->a);
	assert_int_equal(usvm_prefetch(pair->b.vm, at, bytes, USVM_PLACE_DEVICE), 0);
	assert_with(&pair->b, false, at, 3 * part);
	assert_int_equal(live_counts(&pair->a).home, before.home);
	gpu_assert_filled(&pair->b, at, 3 * part, 5, 0);
	live_assert_filled(at, 3 * part, 5, 0);
	live_assert_zero(at + 3 * part, LIVE_HUGE - 3 * part);
}

/* B has room for one block, A has four. */
static void what_goes_to_a_device_that_is_full_is_all_there(void **state)
{
	struct pair *pair = *state;
	size_t bytes = 4 * LIVE_HUGE;
	unsigned char *at = live_on_device(&pair->a, bytes, 9);
	struct live small;
	char spec[96];

	snprintf(spec, sizeof(spec), "%s,vram=2M", pair->param->b.spec);
	live_open(&small, &pair->param->b, spec);
	for (int i = 0; i < 3; i++) {
		gpu_assert_filled(&small, at, bytes, 9, 0);
		live_take(&small, at, bytes);
		assert_true(usvm_stat(small.gpu, "vram_used_bytes") <= LIVE_HUGE);
		live_take(&pair->a, at, bytes);
		assert_on_a(pair, at, bytes);
	}
	assert_true(usvm_stat(small.gpu, "usvm_pages_from_peer") >= bytes / LIVE_PAGE);
	live_close(&small);
	live_assert_filled(at, bytes, 9, 0);
}

/* --- what the program does ---------------- */

static void what_the_program_moves_follows_to_the_peer(void **state)
{
	struct pair *pair = *state;
	size_t bytes = live_bytes(&pair->a), half = bytes / 2;
	unsigned char *at = live_on_device(&pair->a, bytes, 11);
	unsigned char *to = live_map(&pair->a, bytes);

	/* From A to elsewhere, from there to B, and from B back: frames are not where they
	 * would be of themselves. */
	assert_ptr_equal(mremap(at, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	live_take(&pair->b, to, half);
	assert_on_b(pair, to, half);
	assert_on_a(pair, to + half, half);
	at = live_map(&pair->a, bytes);
	assert_ptr_equal(mremap(to, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at), at);
	live_take(&pair->a, at, bytes);
	assert_on_a(pair, at, bytes);
	live_take(&pair->b, at, bytes);
	assert_on_b(pair, at, bytes);
	gpu_assert_filled(&pair->b, at, bytes, 11, 0);
	/* What is discarded is zeros, for both and for the program. */
	assert_int_equal(madvise(at, half, MADV_DONTNEED), 0);
	assert_int_equal(gpu_read64(&pair->a, at), 0);
	live_assert_zero(at, half);
	assert_int_equal(munmap(at, half), 0);
	gpu_assert_filled(&pair->a, at + half, half, 11, half);
	assert_int_equal(gpu_try(&pair->b, USVM_ACCESS_READ, at, NULL), -EFAULT);
	live_assert_filled(at + half, half, 11, half);
}

struct adders {
	struct pair *pair;
	struct usvm_fence *a, *b;
};

static struct adders start_adders(struct pair *pair, unsigned char *at, uint64_t rounds)
{
	return (struct adders){
		.pair = pair,
		.a = gpu_start_add(&pair->a, pair->a.queue, at, LIVE_PAGE, PAGES, rounds),
		.b = gpu_start_add(&pair->b, pair->b.queue, at, LIVE_PAGE, PAGES, rounds),
	};
}

static void finish_adders(struct adders *adders)
{
	gpu_finish(adders->a);
	gpu_finish(adders->b);
}

static void read_all(void *arg)
{
	volatile uint64_t *words = arg;

	for (size_t i = 0; i < PAGES; i++)
		CHILD_CHECK(words[i * LIVE_PAGE / 8] <= 2 * ROUNDS);
	CHILD_CHECK(live_is_filled((char *)arg + PAGES * LIVE_PAGE, LIVE_PAGE, 2, 0));
}

/* Both add to the same pages all the time, and each addition counts. */
static void nothing_is_lost_while_the_program_forks_and_discards(void **state)
{
	struct pair *pair = *state;
	unsigned char *at = live_map(&pair->a, LIVE_HUGE);
	unsigned char *more = at + (PAGES + 1) * LIVE_PAGE;
	struct usvm_device_info info;
	struct adders adders;

	assert_int_equal(usvm_device_info(pair->a.gpu, &info), 0);
	memset(at, 0, PAGES * LIVE_PAGE);
	live_fill(at + PAGES * LIVE_PAGE, LIVE_PAGE, 2, 0);
	adders = start_adders(pair, at, ROUNDS);
	for (int i = 0; i < 8; i++) {
		volatile uint64_t *word = (uint64_t *)(void *)at + i * LIVE_PAGE / 8;

		live_child(live_fork, read_all, at);
		if (info.fork_events)
			live_child(live_clone, read_all, at);
		assert_true(*word <= 2 * ROUNDS);
		/* In the same block, and on either device or none. */
		live_fill(more, LIVE_PAGE, 4, 0);
		(void)gpu_read64(i % 2 ? &pair->a : &pair->b, more);
		assert_int_equal(madvise(more, LIVE_PAGE, MADV_DONTNEED), 0);
		live_assert_zero(more, LIVE_PAGE);
	}
	finish_adders(&adders);
	for (size_t i = 0; i < PAGES; i++)
		assert_int_equal(((uint64_t *)(void *)at)[i * LIVE_PAGE / 8], 2 * ROUNDS);
	live_assert_filled(at + PAGES * LIVE_PAGE, LIVE_PAGE, 2, 0);
}

/* --- devices that go ---------------- */

/* Another like A, and memory that is on it. */
static unsigned char *open_third(struct pair *pair, struct live *third, size_t bytes,
				 unsigned int seed)
{
	live_open(third, &pair->param->a, pair->param->a.spec);
	return live_on_device(third, bytes, seed);
}

static void a_device_that_is_closed_leaves_what_went_to_its_peer(void **state)
{
	struct pair *pair = *state;
	size_t bytes = live_bytes(&pair->a);
	struct live third;
	unsigned char *at = open_third(pair, &third, bytes, 13);

	live_take(&pair->b, at, bytes / 2);
	live_close(&third);
	assert_with(&pair->b, false, at, bytes / 2);
	gpu_assert_filled(&pair->b, at, bytes, 13, 0);
	live_take(&pair->a, at, bytes);
	assert_on_a(pair, at, bytes);
	live_assert_filled(at, bytes, 13, 0);
}

static void a_device_that_is_unplugged_meanwhile_loses_nothing(void **state)
{
	struct pair *pair = *state;
	struct live third;
	unsigned char *at = live_map(&pair->a, LIVE_HUGE);
	struct usvm_fence *mine, *its;
	uint64_t sum = 0;
	int err;

	live_open(&third, &pair->param->a, pair->param->a.spec);
	memset(at, 0, PAGES * LIVE_PAGE);
	its = gpu_start_add(&third, third.queue, at, LIVE_PAGE, PAGES, UINT64_MAX);
	mine = gpu_start_add(&pair->b, pair->b.queue, at, LIVE_PAGE, PAGES, ROUNDS);
	gpu_finish(mine);
	assert_int_equal(usvm_device_unplug(third.gpu), 0);
	err = usvm_fence_wait(its, MINUTE_NS);
	assert_int_equal(err, -ENODEV);
	usvm_fence_put(its);
	/* Of the last round a part of the pages has one more. */
	live_take(&pair->b, at, PAGES * LIVE_PAGE);
	assert_on_b(pair, at, PAGES * LIVE_PAGE);
	for (size_t i = 0; i < PAGES; i++) {
		uint64_t n = ((uint64_t *)(void *)at)[i * LIVE_PAGE / 8];

		assert_true(n >= ROUNDS);
		assert_true(!i || n == sum || n + 1 == sum);
		sum = n;
	}
	live_close(&third);
}

/* --- who is a peer ---------------- */

static void what_is_no_peer_gets_pages_from_home(void **state)
{
	static const char *const groups[] = { "none", "others" };
	struct pair *pair = *state;
	size_t bytes = live_bytes(&pair->a);

	for (int i = 0; i < 2; i++) {
		unsigned char *at = live_on_device(&pair->a, bytes, 17);
		struct live_counts before = live_counts(&pair->a);
		struct live stranger;
		char spec[96];

		snprintf(spec, sizeof(spec), "%s,peers=%s", pair->param->b.spec, groups[i]);
		live_open(&stranger, &pair->param->b, spec);
		live_take(&stranger, at, bytes);
		assert_with(&stranger, false, at, bytes);
		live_assert_counts(&pair->a, before, bytes / LIVE_PAGE, bytes / LIVE_PAGE);
		assert_int_equal(usvm_stat(stranger.gpu, "usvm_pages_from_peer"), 0);
		assert_int_equal(usvm_stat(stranger.gpu, "usvm_peer_mapped"), 0);
		live_close(&stranger);
		live_assert_filled(at, bytes, 17, 0);
	}
}

/* --- in place ---------------- */

static void advise_device(const struct live *live, unsigned char *at, size_t bytes,
			  struct usvm *device)
{
	const struct usvm_attributes where = {
		.location = USVM_LOCATION_DEVICE,
		.device = device,
	};

	assert_int_equal(usvm_advise(live->vm, at, bytes, USVM_ATTRIBUTE_LOCATION, &where), 0);
}

static bool is_mapped(const struct live *live, const void *at)
{
	struct usvm_page_info info;

	assert_int_equal(usvm_query(live->vm, at, &info), 0);
	return info.mapped & 1;
}

static void what_is_wanted_on_a_peer_is_used_there(void **state)
{
	struct pair *pair = *state;
	size_t bytes = live_bytes(&pair->a);
	unsigned char *at = live_on_device(&pair->a, bytes, 19);
	uint64_t *word = (uint64_t *)(void *)at;
	struct live_counts before = live_counts(&pair->a);

	advise_device(&pair->b, at, bytes, pair->a.gpu);
	gpu_assert_filled(&pair->b, at, bytes, 19, 0);
	assert_on_a(pair, at, bytes);
	assert_true(is_mapped(&pair->b, at));
	gpu_write64(&pair->b, word, 1);
	assert_int_equal(gpu_read64(&pair->a, word), 1);
	gpu_write64(&pair->a, word, 2);
	assert_int_equal(gpu_read64(&pair->b, word), 2);
	assert_int_equal(gpu_add64(&pair->b, word, 1), 2);
	assert_on_a(pair, at, bytes);
	live_assert_counts(&pair->a, before, 0, 0);
	/* A prefetch to where it should be leaves it there. */
	assert_int_equal(usvm_prefetch(pair->b.vm, at, bytes, USVM_PLACE_ADVISED), 0);
	assert_on_a(pair, at, bytes);
	/* When it goes home its entries go, whoever has them. */
	assert_int_equal(*word, 3);
	assert_false(is_mapped(&pair->b, at));
	*word = 4;
	assert_int_equal(gpu_read64(&pair->b, word), 4);
	live_assert_filled(at + 8, bytes - 8, 19, 8);
}

static void what_is_used_in_place_goes_with_its_device(void **state)
{
	struct pair *pair = *state;
	size_t bytes = live_bytes(&pair->a);
	struct live third;
	unsigned char *at = open_third(pair, &third, bytes, 23);

	advise_device(&pair->b, at, bytes, third.gpu);
	gpu_assert_filled(&pair->b, at, bytes, 23, 0);
	assert_with(&third, false, at, bytes);
	live_close(&third);
	assert_false(is_mapped(&pair->b, at));
	live_assert_state(&pair->b, at, bytes, LIVE_HOME);
	gpu_assert_filled(&pair->b, at, bytes, 23, 0);
	live_assert_filled(at, bytes, 23, 0);
}

#define ENTRY(f, what, i) { #f what, f, set_up, tear_down, &params[i] }
#define MODES(f)                                                                \
	ENTRY(f, " [move, move]", 0), ENTRY(f, " [move, copy]", 1),             \
		ENTRY(f, " [copy, move]", 2), ENTRY(f, " [copy, copy]", 3)
#define MODES_HUGE(f)                                                           \
	MODES(f), ENTRY(f, " [move, move, huge]", 4),                           \
		ENTRY(f, " [move, copy, huge]", 5), ENTRY(f, " [copy, move, huge]", 6), \
		ENTRY(f, " [copy, copy, huge]", 7)

int main(void)
{
	const struct CMUnitTest tests[] = {
		MODES_HUGE(pages_go_to_and_fro_and_never_home),
		MODES(what_one_wrote_the_other_reads),
		MODES(a_prefetch_brings_what_is_in_three_places_together),
		MODES_HUGE(what_goes_to_a_device_that_is_full_is_all_there),
		MODES_HUGE(what_the_program_moves_follows_to_the_peer),
		MODES(nothing_is_lost_while_the_program_forks_and_discards),
		MODES(a_device_that_is_closed_leaves_what_went_to_its_peer),
		MODES(a_device_that_is_unplugged_meanwhile_loses_nothing),
		MODES(what_is_no_peer_gets_pages_from_home),
		ENTRY(what_is_wanted_on_a_peer_is_used_there, " [move, move]", 0),
		ENTRY(what_is_wanted_on_a_peer_is_used_there, " [move, copy]", 1),
		ENTRY(what_is_wanted_on_a_peer_is_used_there, " [move, move, huge]", 4),
		ENTRY(what_is_used_in_place_goes_with_its_device, " [move, move]", 0),
		ENTRY(what_is_used_in_place_goes_with_its_device, " [move, copy]", 1),
	};

	return LIVE_RUN(tests);
}
