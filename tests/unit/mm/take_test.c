/* SPDX-License-Identifier: MIT */
/*
 * Taking pages: what is taken, what stays, and that nothing is lost whatever MOVE says and
 * whatever the program does meanwhile.
 */
#include "mm_fixture.h"

/* What the program does in the middle of a take; called once, with no lock held. */
struct meanwhile {
	const char *op;
	uint64_t nth;
	void (*act)(struct fixture *f);
	bool settles; /* the monitor hears of it at once, if it can */
};
static struct meanwhile meanwhile;

static void meanwhile_hook(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (strcmp(op, meanwhile.op) != 0 || --meanwhile.nth)
		return;
	f->fake->op_hook = NULL;
	meanwhile.act(f);
#if defined(USVM_LOCK_CHECK) /* without it, nobody knows whether a lock is held */
	if (meanwhile.settles && !base_host->self()->held_count)
		settle(f);
#endif
}

static void set_meanwhile(struct fixture *f, const char *op, uint64_t nth,
			  void (*act)(struct fixture *f), bool settles)
{
	meanwhile = (struct meanwhile){ op, nth, act, settles };
	f->fake->op_hook = meanwhile_hook;
	f->fake->yield_hook = settle_hook;
}

static uint32_t populates(struct fixture *f)
{
	return (uint32_t)fake_calls(f->fake, "advise");
}

/* --- what is taken ---------------- */

static void present_pages_are_taken_and_holes_stay(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 8);

	heap_fill(f, 1, 2);
	heap_fill(f, 5, 1);
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take.taken_pages, 3);
	assert_int_equal(take.filled_pages, 0);
	assert_int_equal(take.busy_pages, 0);
	assert_false(is_on_device(f, heap(0)));
	assert_true(is_on_device(f, heap(1)));
	assert_false(is_on_device(f, heap(3)));
	assert_true(is_on_device(f, heap(5)));
	assert_int_equal(fake_tag(f->fake, f->arena + 5 * PAGE_BYTES), tag_of(5));
	expect_tags(f, 1, 2);
	expect_tags(f, 5, 1);
}

static void holes_are_taken_as_zeros_where_it_is_asked(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 8);

	take.fill = heap_span(2, 4);
	heap_fill(f, 3, 1);
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take.taken_pages, 1);
	assert_int_equal(take.filled_pages, 3);
	assert_false(is_on_device(f, heap(1)));
	for (uint64_t i = 2; i < 6; i++)
		assert_true(is_on_device(f, heap(i)));
	assert_false(is_on_device(f, heap(6)));
	/* They come home as holes, and are answered as such. */
	assert_int_equal(cpu_read(f, heap(2)), 0);
	expect_tags(f, 3, 1);
}

static void all_holes_are_taken_where_nothing_else_is(void **state)
{
	struct fixture *f = *state;

	for (uint64_t present = 0; present < 2; present++) {
		struct mm_take take = take_of(f, 0, 8);

		heap_fill(f, 6, present);
		take.fill = heap_span(2, 1);
		take.fill_empty = true;
		assert_int_equal(mm_take(f->mm, &take), 0);
		assert_int_equal(take.taken_pages, present);
		assert_int_equal(take.filled_pages, present ? 1 : 8);
		assert_int_equal(mm_bring_home(f->mm, take.span, NULL), 0);
	}
}

/* What the device wrote to a hole comes home. */
static void a_filled_hole_that_was_written_comes_home_with_contents(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 4);

	take.fill = take.span;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take.filled_pages, 4);
	fake_set_tag(f->fake, f->arena + 2 * PAGE_BYTES, 4711);
	assert_int_equal(cpu_read(f, heap(2)), 4711);
	assert_int_equal(cpu_read(f, heap(1)), 0);
}

static void pages_with_an_entry_are_left_as_they_are(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 3, 2), 2);
	assert_int_equal(take_pages(f, 0, 8), 6);
	assert_int_equal(mm_entry_pages(f->mm), 8);
	assert_int_equal(take_pages(f, 0, 8), 0);
	expect_tags(f, 0, 8);
}

static void a_huge_page_is_told(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, HEAP_PAGES);

	heap_fill(f, 0, HEAP_PAGES);
	fake_page_set(f->fake, take.span, SYS_PAGE_HUGE);
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take.taken_pages, HEAP_PAGES);
	assert_true(take.huge);
}

/* --- memory that does not move ---------------- */

static void only_private_anonymous_read_write_memory_is_taken(void **state)
{
	static const struct {
		enum sys_vma_kind kind;
		uint32_t prot;
	} kinds[] = {
		{ SYS_VMA_ANON_SHARED, READ_WRITE },
		{ SYS_VMA_FILE_PRIVATE, READ_WRITE },
		{ SYS_VMA_FILE_SHARED, READ_WRITE },
		{ SYS_VMA_HUGETLB, READ_WRITE },
		{ SYS_VMA_STACK, READ_WRITE },
		{ SYS_VMA_SPECIAL, READ_WRITE },
		{ SYS_VMA_ANON_PRIVATE, SYS_PROT_READ },
		{ SYS_VMA_ANON_PRIVATE, READ_WRITE | SYS_PROT_EXEC },
		{ SYS_VMA_ANON_PRIVATE, 0 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct mm_take take = take_of(f, 0, 1);

		fake_map(f->fake, span_make(OTHER, PAGE_BYTES), kinds[i].kind, kinds[i].prot);
		fake_set_tag(f->fake, OTHER, 5);
		take.span = span_make(OTHER, PAGE_BYTES);
		assert_int_equal(mm_take(f->mm, &take), -EOPNOTSUPP);
		assert_int_equal(fake_registered(f->fake, OTHER), 0);
		assert_int_equal(fake_tag(f->fake, OTHER), 5);
	}
}

static void a_span_without_a_vma_or_over_its_end_is_enoent(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 4);

	take.span = span_make(OTHER, PAGE_BYTES);
	assert_int_equal(mm_take(f->mm, &take), -ENOENT);
	fake_map(f->fake, span_make(OTHER, 2 * PAGE_BYTES), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	fake_map(f->fake, span_make(OTHER + 2 * PAGE_BYTES, PAGE_BYTES), SYS_VMA_ANON_PRIVATE,
		 READ_WRITE);
	take.span = span_make(OTHER + PAGE_BYTES, 2 * PAGE_BYTES);
	assert_int_equal(mm_take(f->mm, &take), -ENOENT);
}

static void excluded_spans_are_never_taken(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 8);

	heap_fill(f, 0, 8);
	f->fake->exclusions[0] = heap_span(7, 1);
	f->fake->exclusion_count = 1;
	assert_int_equal(mm_take(f->mm, &take), -EOPNOTSUPP);
	take = take_of(f, 0, 7);
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take.taken_pages, 7);
}

/* A list that could not be read is no list of nothing: its last good state holds. */
/* Each of them keeps two neighbours from merging: a quarter of what there may be. */
static void a_quarter_of_max_map_count_is_the_bound(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 1);

	f->sys->limits.max_map_count = 3 * 8;
	for (uint64_t i = 0; i < 4; i++) {
		take.span = span_make(OTHER + i * MIB(2), PAGE_BYTES);
		take.frame = i * PAGE_BYTES;
		take.destination = f->arena + take.frame;
		fake_map(f->fake, take.span, SYS_VMA_ANON_PRIVATE, READ_WRITE);
		fake_set_tag(f->fake, take.span.start, 60 + i);
		assert_int_equal(mm_take(f->mm, &take), i < 3 ? 0 : -EOPNOTSUPP);
	}
	assert_int_equal(stats_of(f).refused, 1);
	assert_int_equal(fake_registered(f->fake, take.span.start), 0);
	assert_int_equal(cpu_read(f, take.span.start), 63);
	/* Those that are known go on; one that goes makes room. */
	assert_int_equal(cpu_read(f, OTHER), 60);
	take.span.start = OTHER;
	take.span.end = OTHER + PAGE_BYTES;
	take.frame = 0;
	take.destination = f->arena;
	assert_int_equal(mm_take(f->mm, &take), 0);
	fake_munmap(f->fake, take.span);
	settle(f);
	take.span = span_make(OTHER + 3 * MIB(2), PAGE_BYTES);
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(cpu_read(f, take.span.start), 63);
	assert_int_equal(stats_of(f).refused, 1);
}

/* A thread whose stack lies in memory that is registered already. */
static void what_is_excluded_later_is_found_in_a_known_vma(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 4, 4);
	uint64_t calls;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 4), 4);
	calls = fake_calls(f->fake, "exclusions");
	assert_int_equal(take_pages(f, 0, 4), 0);
	assert_int_equal(fake_calls(f->fake, "exclusions"), calls); /* not each time */
	f->fake->exclusions[0] = heap_span(7, 1);
	f->fake->exclusion_count = 1;
	f->fake->clock_ns += 1000000;
	assert_int_equal(mm_take(f->mm, &take), -EOPNOTSUPP);
	assert_true(fake_calls(f->fake, "exclusions") > calls);
	expect_tags(f, 0, 8);
}

static void what_is_excluded_no_more_is_taken_at_once(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 4, 4);

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 1), 1);
	f->fake->exclusions[0] = heap_span(7, 1);
	f->fake->exclusion_count = 1;
	f->fake->clock_ns += 1000000;
	assert_int_equal(mm_take(f->mm, &take), -EOPNOTSUPP);
	f->fake->exclusion_count = 0;
	assert_int_equal(take_pages(f, 4, 4), 4);
	expect_tags(f, 0, 8);
}

static void exclusions_that_do_not_fit_exclude_everything(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 1);

	heap_fill(f, 0, 1);
	assert_int_equal(take_pages(f, 0, 1), 1);
	f->mm->exclusion_count = MM_EXCLUSIONS_MAX;
	fake_fail(f->fake, "exclusions", 1, ENOMEM); /* it still does not fit */
	take = take_of(f, 1, 1);
	assert_int_equal(mm_take(f->mm, &take), -EOPNOTSUPP);
	f->mm->exclusion_count = 0;
}

static void exclusions_that_cannot_be_read_are_an_error(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 1);

	heap_fill(f, 0, 1);
	fake_fail(f->fake, "exclusions", 1, ENOMEM);
	assert_int_not_equal(mm_take(f->mm, &take), 0);
	assert_false(is_on_device(f, heap(0)));
	take = take_of(f, 0, 1);
	assert_int_equal(mm_take(f->mm, &take), 0);
}

static void memory_of_another_userfaultfd_is_used_in_place(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 1);
	int other;

	heap_fill(f, 0, 1);
	assert_int_equal(f->sys->ops->uffd_open(f->sys, &other), 0);
	assert_int_equal(f->sys->ops->uffd_register(f->sys, other, HEAP_VMA, BOTH_MODES), 0);
	assert_int_equal(mm_take(f->mm, &take), -EOPNOTSUPP);
	f->sys->ops->uffd_close(f->sys, other);
}

static void too_many_mappings_are_enomem(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 1);

	heap_fill(f, 0, 1);
	fake_fail(f->fake, "uffd_register", 1, ENOMEM);
	assert_int_equal(mm_take(f->mm, &take), -ENOMEM);
	assert_int_equal(mm_take(f->mm, &take), 0);
}

static void mlocked_memory_stays_home(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 4);

	heap_fill(f, 0, 4);
	fake_mlock(f->fake, HEAP_VMA, true);
	assert_int_equal(mm_take(f->mm, &take), -EOPNOTSUPP);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	expect_tags(f, 0, 4);
}

/* mlockall() locks the arena as well, and MOVE sees no difference. */
static void memory_that_mlockall_locked_stays_home(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 4);

	heap_fill(f, 0, 4);
	fake_mlock(f->fake, HEAP_VMA, true);
	fake_mlock(f->fake, span_make(f->arena, HUGE_BYTES), true);
	assert_int_equal(mm_take(f->mm, &take), -EOPNOTSUPP);
	assert_int_equal(take.taken_pages, 0);
	expect_tags(f, 0, 4);
}

/* A guard page and a marker are no holes, and MOVE refuses them; their neighbours go. */
static void a_guard_page_or_a_marker_stays_and_its_neighbours_go(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 8);

	heap_fill(f, 0, 8);
	fake_guard(f->fake, heap_span(3, 1));
	fake_munmap(f->fake, heap_span(100, 1));
	fake_page_clear(f->fake, heap_span(5, 1), SYS_PAGE_PRESENT);
	fake_page_set(f->fake, heap_span(5, 1), FAKE_PAGE_WP);
	take.fill = take.span;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take.taken_pages, 6);
	assert_int_equal(take.filled_pages, 0);
	assert_false(is_on_device(f, heap(3)));
	assert_false(is_on_device(f, heap(5)));
	assert_int_equal(fake_touch(f->fake, heap(3), false), -EFAULT);
	expect_tags(f, 0, 3);
	expect_tags(f, 6, 2);
}

/* --- the whole VMA is registered, before anything is taken --------------------------- */

static void the_whole_vma_is_registered_for_missing_faults(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 8, 1);
	assert_int_equal(take_pages(f, 8, 1), 1);
	assert_int_equal(fake_registered(f->fake, HEAP), BOTH_MODES);
	assert_int_equal(fake_registered(f->fake, HEAP_VMA.end - PAGE_BYTES), BOTH_MODES);
	assert_int_equal(fake_registered(f->fake, HEAP_VMA.end), 0);
}

static void watching_registers_for_events_only(void **state)
{
	struct fixture *f = *state;
	struct sys_vma vma;
	uint32_t flags;

	assert_int_equal(mm_vma_find(f->mm, heap(3), false, &vma, &flags), 0);
	assert_int_equal(flags, MM_VMA_MIGRATES);
	assert_int_equal(mm_vma_watch(f->mm, &vma), 0);
	assert_int_equal(fake_registered(f->fake, HEAP), SYS_REGISTER_WP);
	assert_int_equal(fake_touch(f->fake, heap(3), true), 0);
	fake_munmap(f->fake, heap_span(0, 1));
	settle(f);
	assert_int_equal(stats_of(f).events_unmap, 1);
}

static void unmap_a_part(struct fixture *f)
{
	fake_munmap(f->fake, heap_span(2, 1));
}

static void map_a_part_anew(struct fixture *f)
{
	fake_map(f->fake, heap_span(2, 2), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	fake_set_tag(f->fake, heap(2), 222);
	fake_set_tag(f->fake, heap(3), 333);
}

static void map_all_anew(struct fixture *f)
{
	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	for (uint64_t i = 0; i < 4; i++)
		fake_set_tag(f->fake, heap(i), 100 * i + i);
}

static void remove_a_part(struct fixture *f)
{
	fake_madvise(f->fake, heap_span(2, 1), SYS_ADVICE_DONTNEED);
}

/*
 * Whatever the program does, at whichever call of a take: what it finds afterwards is what
 * it would find without us. (A take from memory that is not registered would be read as
 * zeros later: A2.)
 */
static uint64_t expected_tag(uint64_t page)
{
	if (meanwhile.act == map_all_anew)
		return 100 * page + page;
	if (meanwhile.act == map_a_part_anew && page >= 2)
		return 111 * page;
	if (meanwhile.act == remove_a_part && page == 2)
		return 0;
	return tag_of(page);
}

/* @act at the @nth call of @op. */
static void take_and_act(struct fixture *f, const char *op, uint64_t nth,
			 void (*act)(struct fixture *), bool settles)
{
	struct mm_take take = take_of(f, 0, 4);

	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	settle(f);
	heap_fill(f, 0, 4);
	set_meanwhile(f, op, nth, act, settles);
	if (mm_take(f->mm, &take))
		assert_int_equal(take.taken_pages, 0);
	if (f->fake->op_hook) /* there was no such call */
		act(f);
	f->fake->op_hook = NULL;
	finish_remove(f);
	for (uint64_t p = 0; p < 4; p++)
		if (act != unmap_a_part || p != 2)
			assert_int_equal(cpu_read(f, heap(p)), expected_tag(p));
	mm_check(f->mm);
}

static void the_program_may_act_at_any_point_of_a_take(void **state)
{
	static const char *const ops[] = { "vma_query", "uffd_register", "exclusions",
					   "page_scan", "madvise_in_flight", "uffd_move" };
	void (*const acts[])(struct fixture *) = { unmap_a_part, map_a_part_anew, map_all_anew,
						   remove_a_part };
	struct fixture *f = *state;

	for (size_t op = 0; op < ARRAY_SIZE(ops); op++) {
		for (size_t act = 0; act < ARRAY_SIZE(acts); act++) {
			for (uint64_t nth = 1; nth <= 3; nth++) {
				take_and_act(f, ops[op], nth, acts[act], false);
				take_and_act(f, ops[op], nth, acts[act], true);
			}
		}
	}
}

/* Between query and REGISTER a part goes, and after REGISTER it is there again: the part is
 * not registered, and no message was sent, for nothing was registered then. */
static void part_goes_and_comes(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (!strcmp(op, "uffd_register") && !f->test[0]++)
		fake_munmap(f->fake, heap_span(2, 2));
	if (!strcmp(op, "vma_query") && f->test[0] == 1) {
		f->test[0]++;
		map_a_part_anew(f);
	}
}

static void a_part_that_came_after_register_is_registered_too(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 2, 2);

	heap_fill(f, 0, 4);
	f->fake->op_hook = part_goes_and_comes;
	assert_int_equal(mm_take(f->mm, &take), 0);
	f->fake->op_hook = NULL;
	assert_int_equal(take.taken_pages, 2);
	assert_int_equal(fake_registered(f->fake, heap(2)), BOTH_MODES);
	assert_int_equal(cpu_read(f, heap(2)), 222);
	assert_int_equal(cpu_read(f, heap(3)), 333);
}

/* --- what MOVE says ---------------- */

static void an_event_in_flight_is_waited_for(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	assert_int_equal(take_pages(f, 0, 1), 1);
	fake_munmap(f->fake, span_make(HEAP + MIB(2), PAGE_BYTES));
	f->fake->yield_hook = settle_hook;
	assert_int_equal(take_pages(f, 0, 4), 3);
	assert_true(stats_of(f).retries > 0);
	expect_tags(f, 0, 4);
}

/* The bound of the loop, and that it ends in an error (law 18). */
static void an_event_that_nobody_reads_ends_in_ebusy(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 1, 1);

	heap_fill(f, 0, 2);
	assert_int_equal(take_pages(f, 0, 1), 1);
	fake_munmap(f->fake, span_make(HEAP + MIB(2), PAGE_BYTES));
	assert_int_equal(mm_take(f->mm, &take), -EBUSY);
	assert_int_equal(take.taken_pages, 0);
	settle(f);
	expect_tags(f, 0, 2);
}

/* The kernel can move a page and say -EEXIST (A4): the frames tell. */
static void a_move_that_lies_took_what_it_took(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 8);

	heap_fill(f, 0, 6);
	take.fill = take.span;
	f->fake->move_lies = 1;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take.taken_pages, 6);
	for (uint64_t i = 0; i < 6; i++)
		assert_true(is_on_device(f, heap(i)));
	expect_tags(f, 0, 6);
}

/* An event comes when some pages have moved: they are taken, whatever becomes of the rest. */
static void a_take_that_is_cut_short_has_what_it_took(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	fake_page_set(f->fake, heap_span(3, 1), FAKE_PAGE_PINNED);
	/* Pages 0 to 2; page 3, which is busy; and behind it. */
	fake_fail(f->fake, "uffd_move", 3, EAGAIN);
	assert_int_equal(take_pages(f, 0, 8), 7);
	fake_page_clear(f->fake, heap_span(3, 1), FAKE_PAGE_PINNED);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(is_on_device(f, heap(i)), i != 3);
	expect_tags(f, 0, 8);
}

/* Shared by a fork that is over: a write that changes nothing makes it movable. */
/* The page that was taken comes to where the sharing is about to be broken. */
static void bring_it_to_the_busy_one(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (strcmp(op, "advise") || f->test[0]++)
		return;
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 1), heap(1), false), 0);
	settle(f);
	assert_int_equal(fake_touch(f->fake, heap(1), true), -EAGAIN);
	settle(f);
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 0);
}

static void a_taker_does_not_wait_for_its_own_page(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 2);

	heap_fill(f, 0, 2);
	fake_page_set(f->fake, heap_span(1, 1), FAKE_PAGE_SHARED);
	take.moving = true;
	f->fake->op_hook = bring_it_to_the_busy_one;
	assert_int_equal(mm_take(f->mm, &take), -ENOENT);
	f->fake->op_hook = NULL;
	assert_int_equal(f->test[0], 1);
	mm_take_finish(f->mm, &take);
	settle(f);
	assert_int_equal(cpu_read(f, heap(1)), tag_of(0));
}

static void sharing_is_broken_by_a_write(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	fake_page_set(f->fake, heap_span(1, 2), FAKE_PAGE_SHARED);
	assert_int_equal(take_pages(f, 0, 4), 4);
	assert_int_equal(stats_of(f).busy_pages, 0);
	expect_tags(f, 0, 4);
}

static void pinned_pages_stay_after_three_tries_and_others_go(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 8);
	uint32_t before = populates(f);

	heap_fill(f, 0, 8);
	fake_page_set(f->fake, heap_span(2, 2), FAKE_PAGE_PINNED);
	fake_page_set(f->fake, heap_span(6, 1), FAKE_PAGE_PINNED);
	take.fill = take.span;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take.taken_pages, 5);
	assert_int_equal(take.busy_pages, 3);
	assert_int_equal(populates(f) - before, 3 * 2); /* two runs, thrice */
	assert_false(is_on_device(f, heap(2)));
	assert_true(is_on_device(f, heap(4)));
	assert_int_equal(stats_of(f).busy_pages, 3);
	fake_page_clear(f->fake, heap_span(0, 8), FAKE_PAGE_PINNED);
	expect_tags(f, 0, 8);
}

/* --- frames ---------------- */

static void a_frame_that_a_dead_page_left_is_emptied_first(void **state)
{
	struct fixture *f = *state;
	struct mm_take take;

	heap_fill(f, 0, 2);
	assert_int_equal(take_pages(f, 0, 2), 2);
	assert_int_equal(fake_madvise(f->fake, heap_span(0, 2), SYS_ADVICE_DONTNEED), 0);
	finish_remove(f);
	assert_int_equal(fake_tag(f->fake, f->arena), tag_of(0));
	take = take_of(f, 0, 2);
	take.fill = take.span;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take.taken_pages, 0);
	assert_int_equal(take.filled_pages, 2);
	assert_int_equal(cpu_read(f, heap(0)), 0);
	assert_int_equal(cpu_read(f, heap(1)), 0);
}

/* The page that was taken to the frame lives elsewhere by now: the frame is not free. */
static void a_frame_whose_page_was_moved_away_is_not_used_again(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 8);

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	assert_int_equal(fake_mremap(f->fake, heap_span(2, 2), OTHER, true), 0);
	settle(f);
	fake_set_tag(f->fake, heap(2), 222);
	take.fill = take.span;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take.taken_pages + take.filled_pages, 0);
	assert_int_equal(cpu_read(f, OTHER), tag_of(2));
	assert_int_equal(cpu_read(f, OTHER + PAGE_BYTES), tag_of(3));
	assert_int_equal(cpu_read(f, heap(2)), 222);
	assert_int_equal(cpu_read(f, heap(3)), 0);
	/* Free again, it takes again. */
	assert_int_equal(take_pages(f, 0, 4), 2);
	assert_int_equal(cpu_read(f, heap(2)), 222);
}

/* --- moving ---------------- */

static void moving_pages_become_device_pages_and_wake_who_waits(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 4);

	heap_fill(f, 0, 4);
	take.moving = true;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(fake_touch(f->fake, heap(1), false), -EAGAIN);
	settle(f);
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 1); /* the owner will wake it */
	mm_take_finish(f->mm, &take);
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 0);
	mm_check(f->mm);
	expect_tags(f, 0, 4);
}

static void an_aborted_take_gives_everything_back(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 8);

	heap_fill(f, 0, 8);
	take.moving = true;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(fake_touch(f->fake, heap(1), false), -EAGAIN);
	fake_munmap(f->fake, heap_span(6, 1));
	assert_int_equal(fake_mremap(f->fake, heap_span(2, 2), OTHER, false), 0);
	settle(f);
	fake_munmap(f->fake, span_make(HEAP + MIB(2), PAGE_BYTES)); /* in flight at the abort */
	f->fake->yield_hook = settle_hook;
	mm_take_abort(f->mm, &take);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 0);
	assert_int_equal(fake_tag(f->fake, OTHER), tag_of(2));
	assert_int_equal(fake_tag(f->fake, OTHER + PAGE_BYTES), tag_of(3));
	expect_tags(f, 0, 2);
	expect_tags(f, 4, 2);
	expect_tags(f, 7, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(present_pages_are_taken_and_holes_stay),
		TEST(holes_are_taken_as_zeros_where_it_is_asked),
		TEST(all_holes_are_taken_where_nothing_else_is),
		TEST(a_filled_hole_that_was_written_comes_home_with_contents),
		TEST(pages_with_an_entry_are_left_as_they_are),
		TEST(a_huge_page_is_told),
		TEST(only_private_anonymous_read_write_memory_is_taken),
		TEST(a_span_without_a_vma_or_over_its_end_is_enoent),
		TEST(excluded_spans_are_never_taken),
		TEST(a_quarter_of_max_map_count_is_the_bound),
		TEST(what_is_excluded_later_is_found_in_a_known_vma),
		TEST(what_is_excluded_no_more_is_taken_at_once),
		TEST(exclusions_that_do_not_fit_exclude_everything),
		TEST(exclusions_that_cannot_be_read_are_an_error),
		TEST(memory_of_another_userfaultfd_is_used_in_place),
		TEST(too_many_mappings_are_enomem),
		TEST(mlocked_memory_stays_home),
		TEST(memory_that_mlockall_locked_stays_home),
		TEST(a_guard_page_or_a_marker_stays_and_its_neighbours_go),
		TEST(the_whole_vma_is_registered_for_missing_faults),
		TEST(watching_registers_for_events_only),
		TEST(the_program_may_act_at_any_point_of_a_take),
		TEST(a_part_that_came_after_register_is_registered_too),
		TEST(an_event_in_flight_is_waited_for),
		TEST(an_event_that_nobody_reads_ends_in_ebusy),
		TEST(a_move_that_lies_took_what_it_took),
		TEST(a_take_that_is_cut_short_has_what_it_took),
		TEST(a_taker_does_not_wait_for_its_own_page),
		TEST(sharing_is_broken_by_a_write),
		TEST(pinned_pages_stay_after_three_tries_and_others_go),
		TEST(a_frame_that_a_dead_page_left_is_emptied_first),
		TEST(a_frame_whose_page_was_moved_away_is_not_used_again),
		TEST(moving_pages_become_device_pages_and_wake_who_waits),
		TEST(an_aborted_take_gives_everything_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
