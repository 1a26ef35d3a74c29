/* SPDX-License-Identifier: MIT */
/*
 * sim_program_test.c - what a simulated program's calls do, refuse and tell.
 */
#include "sim_fixture.h"

#include "base/prng.h"

#define PAGE(n) (heap + (uint64_t)(n)*PAGE_BYTES)
#define SPAN(n, count) span_make(PAGE(n), (uint64_t)(count)*PAGE_BYTES)

static uint64_t heap;
static struct served served;

static uint32_t mode_of(uint64_t addr)
{
	struct sys_vma vma;
	uint32_t mode = 0;

	CHECK(!sim_vma(sim, sim_process(sim, 0), addr, false, &vma, &mode));
	return mode;
}

/* --- mapping -------------------------------------------------------------- */

static void map_and_unmap(void *arg)
{
	size_t before = sim_vma_count(sim, sim_process(sim, 0));
	uint64_t addr;

	(void)arg;
	CHECK(sim_mmap(sim, 0, 0, READ_WRITE, SYS_VMA_ANON_PRIVATE, 0, &addr) == -EINVAL);
	CHECK(sim_mmap(sim, 0, SIM_END, READ_WRITE, SYS_VMA_ANON_PRIVATE, 0, &addr) ==
	      -ENOMEM);
	CHECK(sim_mmap(sim, 1, 1, READ_WRITE, SYS_VMA_ANON_PRIVATE, SIM_MAP_FIXED, &addr) ==
	      -EINVAL);
	heap = map_pages(8);
	CHECK(map_pages(2) == heap - 2 * PAGE_BYTES); /* from above, and joined */
	CHECK(sim_vma_count(sim, sim_process(sim, 0)) == before + 1);
	CHECK(sim_mmap(sim, heap, PAGE_BYTES, READ_WRITE, SYS_VMA_ANON_PRIVATE,
		       SIM_MAP_FIXED | SIM_MAP_NOREPLACE, &addr) == -EEXIST);
	CHECK(!sim_munmap(sim, SPAN(3, 1)));
	CHECK(sim_vma_count(sim, sim_process(sim, 0)) == before + 2);
	CHECK(!sim_munmap(sim, SPAN(3, 1))); /* nothing is there */
	CHECK(sim_munmap(sim, span_make(heap, 0)) == -EINVAL);
	CHECK(map_pages(1) == PAGE(3)); /* the address is used again */
	CHECK(sim_mprotect(sim, span_make(SIM_START, PAGE_BYTES), 0) == -ENOMEM);
	CHECK(!sim_mprotect(sim, SPAN(0, 1), SYS_PROT_READ));
	CHECK(sim_store(sim, PAGE(0), 1) == -EFAULT);
	CHECK(load(PAGE(0)) == 0);
	CHECK(page(PAGE(0)) == (SYS_PAGE_PRESENT | SYS_PAGE_ZERO));
	CHECK(!sim_mprotect(sim, SPAN(0, 1), READ_WRITE));
	CHECK(sim_vma_count(sim, sim_process(sim, 0)) == before + 1);
}

static void mappings_are_made_joined_and_split(void **state)
{
	(void)state;
	run_seed(1, map_and_unmap, NULL);
}

static void too_many(void *arg)
{
	uint64_t addr;

	(void)arg;
	heap = map_pages(16);
	CHECK(!sim_munmap(sim, SPAN(1, 1)));
	CHECK(!sim_munmap(sim, SPAN(3, 1)));
	CHECK(!sim_mprotect(sim, SPAN(5, 1), 0));
	CHECK(sim_munmap(sim, SPAN(8, 1)) == -ENOMEM); /* it would be the sixth */
	CHECK(sim_mprotect(sim, SPAN(8, 1), 0) == -ENOMEM);
	CHECK(sim_mprotect(sim, SPAN(15, 1), 0) == -ENOMEM);
	CHECK(!sim_munmap(sim, SPAN(15, 1)) && !sim_munmap(sim, SPAN(6, 1)));
	CHECK(sim_vma_count(sim, sim_process(sim, 0)) == 5);
	CHECK(sim_mmap(sim, 0, 1, 0, SYS_VMA_SPECIAL, 0, &addr) == -ENOMEM);
	CHECK(sim_mremap(sim, SPAN(7, 1), PAGE_BYTES, 3, SIM_START + MIB(8), &addr) ==
	      -ENOMEM);
	CHECK(load(PAGE(8)) == 0);
}

static void max_map_count_is_kept(void **state)
{
	struct sim_config config = sim_config_default(1);

	(void)state;
	config.max_map_count = 5;
	if (run_config(&config, too_many, NULL) != SIM_DONE)
		fail_msg("%s", sim_report(sim));
	sim_close(sim);
}

static void grow_shrink_and_move(void *arg)
{
	uint64_t place = SIM_START + MIB(64);
	uint64_t at;

	(void)arg;
	heap = place;
	CHECK(!sim_mmap(sim, heap, MIB(1), READ_WRITE, SYS_VMA_ANON_PRIVATE, SIM_MAP_FIXED,
			&at));
	CHECK(!sim_store(sim, PAGE(1), 11));
	CHECK(!sim_mremap(sim, SPAN(0, 256), MIB(2), 0, 0, &at));
	CHECK(at == heap && sim_store(sim, PAGE(511), 1) == 0);
	CHECK(!sim_mremap(sim, SPAN(0, 512), MIB(1), 0, 0, &at));
	CHECK(sim_store(sim, PAGE(256), 1) == -EFAULT);
	CHECK(!sim_mmap(sim, PAGE(256), PAGE_BYTES, 0, SYS_VMA_ANON_PRIVATE, SIM_MAP_FIXED,
			&at));
	CHECK(sim_mremap(sim, SPAN(0, 256), MIB(2), 0, 0, &at) == -ENOMEM);
	CHECK(!sim_mremap(sim, SPAN(0, 256), MIB(2), SIM_MREMAP_MAYMOVE, 0, &at));
	CHECK(at != heap && load(at + PAGE_BYTES) == 11);
	CHECK(sim_store(sim, PAGE(1), 1) == -EFAULT);
	CHECK(sim_mremap(sim, span_make(at, MIB(2)), MIB(2), SIM_MREMAP_FIXED, heap, &at) ==
	      -EINVAL);
	CHECK(sim_mremap(sim, span_make(at, MIB(4)), MIB(5), 1, 0, &at) == -EFAULT);
	CHECK(sim_mremap(sim, span_make(at, MIB(2)), MIB(2),
			 SIM_MREMAP_MAYMOVE | SIM_MREMAP_FIXED, at + MIB(1), &at) == -EINVAL);
	CHECK(!sim_mremap(sim, span_make(at, MIB(2)), MIB(2),
			  SIM_MREMAP_MAYMOVE | SIM_MREMAP_DONTUNMAP, 0, &place));
	CHECK(load(place + PAGE_BYTES) == 11 && load(at + PAGE_BYTES) == 0);
}

static void mremap_grows_shrinks_and_moves(void **state)
{
	(void)state;
	run_seed(1, grow_shrink_and_move, NULL);
}

static void move_several(void *arg)
{
	uint64_t to = SIM_START + MIB(64);
	const struct span *pieces;
	uint64_t at;

	(void)arg;
	heap = map_pages(8);
	CHECK(!sim_mmap(sim, to, MIB(1), READ_WRITE, SYS_VMA_ANON_PRIVATE, SIM_MAP_FIXED, &at));
	CHECK(!sim_store(sim, PAGE(1), 11) && !sim_store(sim, PAGE(6), 16));
	for (uint64_t i = 0; i < 8; i++)
		CHECK(!sim_store(sim, to + i * PAGE_BYTES, 20 + i));
	CHECK(!sim_mprotect(sim, SPAN(2, 2), SYS_PROT_READ));
	CHECK(!sim_munmap(sim, SPAN(4, 2)));
	CHECK(!sim_mremap(sim, SPAN(0, 8), 8 * PAGE_BYTES, 3, to, &at));
	CHECK(sim_mremap_pieces(sim, &pieces) == 2);
	CHECK(pieces[0].start == PAGE(0) && pieces[0].end == PAGE(4));
	CHECK(pieces[1].start == PAGE(6) && pieces[1].end == PAGE(8));
	CHECK(load(to + PAGE_BYTES) == 11 && load(to + 6 * PAGE_BYTES) == 16);
	CHECK(load(to) == 0 && load(to + 7 * PAGE_BYTES) == 0);
	CHECK(load(to + 4 * PAGE_BYTES) == 24 && load(to + 5 * PAGE_BYTES) == 25);
	CHECK(sim_mremap(sim, SPAN(0, 1), PAGE_BYTES, 3, to, &at) == -EFAULT);
	CHECK(sim_mremap_pieces(sim, &pieces) == 0);
}

static void mremap_may_move_several(void **state)
{
	struct sim_config config = sim_config_default(1);

	(void)state;
	config.moves_several = true;
	if (run_config(&config, move_several, NULL) != SIM_DONE)
		fail_msg("%s", sim_report(sim));
	sim_close(sim);
}

static void move_the_heap(void *arg)
{
	uint64_t low, now;

	(void)arg;
	CHECK(!sim_brk(sim, 0, &low));
	CHECK(!sim_brk(sim, low + 3 * PAGE_BYTES, &now) && now == low + 3 * PAGE_BYTES);
	CHECK(!sim_store(sim, low + 2 * PAGE_BYTES, 5));
	CHECK(!sim_brk(sim, low + PAGE_BYTES, &now));
	CHECK(sim_store(sim, low + 2 * PAGE_BYTES, 5) == -EFAULT);
	CHECK(!sim_brk(sim, low + 3 * PAGE_BYTES, &now));
	CHECK(load(low + 2 * PAGE_BYTES) == 0);
}

static void brk_moves_the_end_of_the_heap(void **state)
{
	(void)state;
	run_seed(1, move_the_heap, NULL);
}

/* --- messages ------------------------------------------------------------- */

static void tell_everything(void *arg)
{
	uint64_t elsewhere = SIM_START + MIB(32);
	uint64_t at;

	(void)arg;
	served_start(&served);
	heap = map_pages(16);
	for (int i = 0; i < 16; i++)
		CHECK(!sim_store(sim, PAGE(i), 100 + (uint64_t)i));
	served_register(&served, SPAN(0, 16));
	CHECK(!sim_madvise(sim, SPAN(0, 1), SIM_ADVICE_DONTNEED));
	CHECK(served.counts[SYS_EVENT_REMOVE] == 1 && load(PAGE(0)) == 0);
	CHECK(served.counts[SYS_EVENT_FAULT] >= 1);
	CHECK(!sim_madvise(sim, SPAN(1, 1), SIM_ADVICE_FREE));
	CHECK(served.counts[SYS_EVENT_REMOVE] == 2);
	CHECK(page(PAGE(1)) & SIM_PAGE_LAZY && load(PAGE(1)) == 101);
	CHECK(!sim_mprotect(sim, SPAN(2, 1), SYS_PROT_READ));
	CHECK(!sim_mprotect(sim, SPAN(2, 1), READ_WRITE));
	CHECK(!sim_mlock(sim, SPAN(2, 1), true) && !sim_mlock(sim, SPAN(2, 1), false));
	CHECK(!sim_madvise(sim, SPAN(3, 1), SIM_ADVICE_GUARD_INSTALL));
	CHECK(sim_load(sim, PAGE(3), &at) == -EFAULT);
	CHECK(!sim_madvise(sim, SPAN(3, 1), SIM_ADVICE_GUARD_REMOVE));
	CHECK(load(PAGE(3)) == 0);
	CHECK(served.counts[SYS_EVENT_UNMAP] == 0 && served.counts[SYS_EVENT_REMOVE] == 2);
	CHECK(!sim_mremap(sim, SPAN(4, 2), 2 * PAGE_BYTES,
			  SIM_MREMAP_MAYMOVE | SIM_MREMAP_FIXED, elsewhere, &at));
	CHECK(served.counts[SYS_EVENT_REMAP] == 1 && served.counts[SYS_EVENT_UNMAP] == 1);
	CHECK(served.last[SYS_EVENT_REMAP].to == elsewhere);
	CHECK(load(elsewhere) == 104 && mode_of(elsewhere) == BOTH_MODES);
	CHECK(!sim_munmap(sim, SPAN(0, 16)));
	CHECK(served.counts[SYS_EVENT_UNMAP] == 2);
	CHECK(served.last[SYS_EVENT_UNMAP].span.end == PAGE(16)); /* of the call */
	CHECK(sim_events(sim) == 0);
	served_stop(&served);
}

static void each_change_is_told_as_measured(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 50; seed++)
		run_seed(seed, tell_everything, NULL);
}

/* Two threads change, two touch: nobody is left behind, whatever the order. */
static void change(void *arg)
{
	uint64_t at;

	for (int i = 0; i < 100; i++) {
		uint64_t n = sim_rand(sim, 16);

		switch (sim_rand(sim, 4)) {
		case 0:
			CHECK(!sim_munmap(sim, SPAN(n, 1)));
			break;
		case 1:
			CHECK(!sim_mmap(sim, PAGE(n), PAGE_BYTES, READ_WRITE,
					SYS_VMA_ANON_PRIVATE, SIM_MAP_FIXED, &at));
			break;
		case 2:
			(void)sim_madvise(sim, SPAN(n, 1), SIM_ADVICE_DONTNEED);
			break;
		default:
			if (arg)
				(void)sim_store(sim, PAGE(n), n);
			else
				(void)sim_load(sim, PAGE(n), &at);
		}
	}
}

static void change_together(void *arg)
{
	struct sim_thread *threads[4];

	(void)arg;
	served_start(&served);
	heap = map_pages(16);
	served_register(&served, SPAN(0, 16));
	for (intptr_t i = 0; i < 4; i++)
		threads[i] = sim_thread_start(sim, "change", change, (void *)(i % 2));
	for (int i = 0; i < 4; i++)
		sim_thread_join(sim, threads[i]);
	CHECK(sim_events(sim) == 0);
	served_stop(&served);
}

static void no_order_of_changes_and_faults_blocks_for_ever(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 30; seed++) {
		struct sim_config config = sim_config_default(seed);

		config.policy = seed % 2 ? SIM_POLICY_RANDOM : SIM_POLICY_PRIORITY;
		config.odds.fault_repeats = 3;
		config.odds.swap_out = 10;
		if (run_config(&config, change_together, NULL) != SIM_DONE)
			fail_msg("%s", sim_report(sim));
		sim_close(sim);
	}
}

/* --- pages ---------------------------------------------------------------- */

static void pin_swap_and_merge(void *arg)
{
	uint64_t value = 0, seven = 7;
	struct sim_pin *pin;
	uint64_t done = 0;
	char byte = 3;

	(void)arg;
	served_start(&served);
	heap = map_pages(8);
	CHECK(!sim_store(sim, PAGE(0), 1));
	CHECK(!sim_pin(sim, PAGE(0), true, &pin));
	served_register(&served, SPAN(0, 8));
	CHECK(sys->ops->uffd_move(sys, served.uffd, PAGE(4), PAGE(0), PAGE_BYTES, 0,
				  &done) == -EBUSY);
	CHECK(sim_swap_out(sim, SPAN(0, 1)) == 0);
	sim_pin_write(sim, pin, 0, &seven, 8);
	CHECK(load(PAGE(0)) == 7);
	/* The page goes; who pinned it keeps it. */
	CHECK(!sim_madvise(sim, SPAN(0, 1), SIM_ADVICE_DONTNEED));
	CHECK(!sim_store(sim, PAGE(0), 8));
	sim_pin_read(sim, pin, 0, &value, 8);
	CHECK(value == 7 && load(PAGE(0)) == 8);
	sim_unpin(sim, pin);
	CHECK(!sys->ops->uffd_move(sys, served.uffd, PAGE(4), PAGE(0), PAGE_BYTES, 0, &done));
	CHECK(load(PAGE(4)) == 8);

	CHECK(sim_swap_out(sim, SPAN(4, 1)) == 1 && page(PAGE(4)) == SYS_PAGE_SWAPPED);
	CHECK(load(PAGE(4)) == 8 && page(PAGE(4)) == SYS_PAGE_PRESENT);

	CHECK(!sim_store(sim, PAGE(5), 8));
	CHECK(sim_merge_equal(sim, SPAN(4, 2)) == 0); /* nobody allowed it */
	CHECK(!sim_madvise(sim, SPAN(0, 8), SIM_ADVICE_MERGEABLE));
	CHECK(sim_merge_equal(sim, SPAN(4, 2)) == 1 && page(PAGE(5)) & SIM_PAGE_SHARED);
	CHECK(sys->ops->uffd_move(sys, served.uffd, PAGE(6), PAGE(5), PAGE_BYTES, 0,
				  &done) == -EBUSY);
	CHECK(!sim_madvise(sim, SPAN(5, 1), SIM_ADVICE_POPULATE_WRITE));
	CHECK(!sys->ops->uffd_move(sys, served.uffd, PAGE(6), PAGE(5), PAGE_BYTES, 0, &done));
	CHECK(!sys->ops->uffd_poison(sys, served.uffd, SPAN(7, 1)));
	CHECK(sim_load(sim, PAGE(7), &value) == -EBUSY);
	CHECK(sim_copy_in(sim, PAGE(7), &byte, 1) == -EFAULT);
	CHECK(!sim_copy_out(sim, PAGE(6), &byte, 1) && !sim_copy_in(sim, PAGE(6), &byte, 1));
	CHECK(load(PAGE(6)) == 3);
	served_stop(&served);
}

static void pin_and_move(void *arg)
{
	uint64_t place = SIM_START + MIB(8);
	uint64_t seven = 7;
	struct sim_pin *pin;

	(void)arg;
	heap = map_pages(2);
	CHECK(!sim_store(sim, PAGE(0), 1));
	CHECK(!sim_pin(sim, PAGE(0), true, &pin));
	CHECK(!sim_mremap(sim, SPAN(0, 1), PAGE_BYTES, SIM_MREMAP_MAYMOVE | SIM_MREMAP_FIXED,
			  place, &place));
	CHECK(!sim_mmap(sim, PAGE(0), PAGE_BYTES, READ_WRITE, SYS_VMA_ANON_PRIVATE,
			SIM_MAP_FIXED, &heap));
	sim_pin_write(sim, pin, 0, &seven, sizeof(seven));
	CHECK(load(place) == 7 && load(PAGE(0)) == 0);
	CHECK(page(place) & SIM_PAGE_PINNED && !(page(PAGE(0)) & SIM_PAGE_PINNED));
	sim_unpin(sim, pin);
	CHECK(!(page(place) & SIM_PAGE_PINNED));
}

static void a_pin_goes_with_its_page(void **state)
{
	(void)state;
	run_seed(1, pin_and_move, NULL);
}

static void pins_swap_and_merging_are_as_measured(void **state)
{
	(void)state;
	run_seed(1, pin_swap_and_merge, NULL);
}

static void huge_pages(void *arg)
{
	uint64_t done;

	(void)arg;
	served_start(&served);
	heap = ALIGN_UP(map_pages(3 * PAGES_PER_HUGE), HUGE_BYTES);
	CHECK(!sim_madvise(sim, SPAN(0, 2 * PAGES_PER_HUGE), SIM_ADVICE_HUGEPAGE));
	CHECK(!sim_store(sim, PAGE(5), 5));
	CHECK(page(PAGE(0)) == (SYS_PAGE_PRESENT | SYS_PAGE_HUGE) && load(PAGE(0)) == 0);
	served_register(&served, SPAN(0, 2 * PAGES_PER_HUGE));
	CHECK(!sys->ops->uffd_move(sys, served.uffd, PAGE(512), PAGE(0), HUGE_BYTES, 0,
				   &done) && done == HUGE_BYTES);
	CHECK(page(PAGE(512)) & SYS_PAGE_HUGE && page(PAGE(0)) == 0);
	CHECK(load(PAGE(517)) == 5);
	CHECK(!sim_madvise(sim, SPAN(600, 1), SIM_ADVICE_DONTNEED));
	CHECK(!(page(PAGE(512)) & SYS_PAGE_HUGE));
	CHECK(sim_madvise(sim, SPAN(512, 512), SIM_ADVICE_COLLAPSE) == -EBUSY); /* a hole */
	CHECK(load(PAGE(600)) == 0);
	CHECK(sim_madvise(sim, SPAN(512, 512), SIM_ADVICE_COLLAPSE) == -EBUSY); /* zero page */
	CHECK(!sim_store(sim, PAGE(600), 0));
	CHECK(!sim_madvise(sim, SPAN(512, 512), SIM_ADVICE_COLLAPSE));
	CHECK(page(PAGE(1023)) & SYS_PAGE_HUGE);
	served_stop(&served);
}

static void huge_pages_are_made_moved_and_split(void **state)
{
	(void)state;
	run_seed(1, huge_pages, NULL);
}

static void touch_beyond(void *arg)
{
	uint64_t value;

	(void)arg;
	heap = map_pages(1);
	(void)sim_load(sim, PAGE(0) + 64, &value);
}

static void bytes_that_do_not_exist_are_a_mistake_of_the_test(void **state)
{
	struct sim_config config = sim_config_default(1);

	(void)state;
	assert_int_equal(run_config(&config, touch_beyond, NULL), SIM_FAILED);
	assert_non_null(strstr(sim_report(sim), "frame_bytes"));
	sim_close(sim);
	config.frame_bytes = PAGE_BYTES;
	assert_int_equal(run_config(&config, touch_beyond, NULL), SIM_DONE);
	sim_close(sim);
}

static void without_kernel_faults(void *arg)
{
	uint64_t value;

	(void)arg;
	served_start(&served);
	heap = map_pages(4);
	served_register(&served, SPAN(0, 4));
	CHECK(sim_copy_in(sim, PAGE(0), &value, 8) == -EFAULT);
	CHECK(sim_mlock(sim, SPAN(0, 1), true) == -ENOMEM);
	CHECK(sim_madvise(sim, SPAN(1, 1), SIM_ADVICE_POPULATE_READ) == -EFAULT);
	CHECK(served.counts[SYS_EVENT_FAULT] == 0);
	CHECK(load(PAGE(0)) == 0);
	served_stop(&served);
}

static void system_calls_do_not_fault_in_user_mode_only(void **state)
{
	struct sim_config config = sim_config_default(1);

	(void)state;
	config.features &= ~(uint32_t)SYS_FEATURE_KERNEL_FAULTS;
	if (run_config(&config, without_kernel_faults, NULL) != SIM_DONE)
		fail_msg("%s", sim_report(sim));
	sim_close(sim);
}

/* --- processes ------------------------------------------------------------ */

static uint32_t child_done;

static void child_main(void *arg)
{
	uint64_t value;

	(void)arg;
	CHECK(load(PAGE(0)) == 1 || load(PAGE(0)) == 2);
	CHECK(load(PAGE(1)) == 0);                        /* WIPEONFORK */
	CHECK(sim_load(sim, PAGE(2), &value) == -EFAULT); /* DONTFORK */
	CHECK(!sim_store(sim, PAGE(0), 50));
	CHECK(load(PAGE(0)) == 50);
	child_done++;
	for (;;)
		sim_yield(sim, NULL);
}

static void fork_and_kill(void *arg)
{
	struct sim_process *child, *second;

	(void)arg;
	child_done = 0;
	served_start(&served);
	heap = map_pages(4);
	for (uint64_t i = 0; i < 4; i++)
		CHECK(!sim_store(sim, PAGE(i), i + 1));
	CHECK(!sim_madvise(sim, SPAN(1, 1), SIM_ADVICE_WIPEONFORK));
	CHECK(!sim_madvise(sim, SPAN(2, 1), SIM_ADVICE_DONTFORK));
	served_register(&served, SPAN(0, 4));
	CHECK(!sim_fork(sim, SIM_FORK_RAW, "child", child_main, NULL, &child));
	CHECK(served.counts[SYS_EVENT_FORK] == 1 && page(PAGE(0)) & SIM_PAGE_SHARED);
	CHECK(!sim_fork(sim, 0, "child", child_main, NULL, &second));
	while (child_done < 2)
		base_host->cpu_yield();
	CHECK(load(PAGE(0)) == 1 && load(PAGE(1)) == 2);
	CHECK(sim_process_number(second) == 2);
	sim_kill(sim, child);
	sim_kill(sim, second);
	sim_wait(sim, child);
	CHECK(sim_process_is_dead(child) && sim_process_is_dead(second));
	served_stop(&served);
}

static void children_have_copies_and_die_when_killed(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 30; seed++)
		run_seed(seed, fork_and_kill, NULL);
}

static void sleep_and_die(void *arg)
{
	uint64_t value;

	(void)arg;
	(void)sim_load(sim, PAGE(1), &value); /* nobody answers in time */
	(void)sim_munmap(sim, SPAN(0, 1));
	sim_exit(sim);
}

static void kill_at_any_time(void *arg)
{
	struct sim_process *children[4];

	(void)arg;
	served_start(&served);
	heap = map_pages(4);
	served_register(&served, SPAN(0, 4));
	for (int i = 0; i < 4; i++) {
		CHECK(!sim_fork(sim, SIM_FORK_RAW, "child", sleep_and_die, NULL,
				&children[i]));
		for (uint64_t n = sim_rand(sim, 20); n; n--)
			sim_yield(sim, NULL);
		sim_kill(sim, children[i]);
	}
	for (int i = 0; i < 4; i++)
		sim_wait(sim, children[i]);
	CHECK(sim_events(sim) == 0);
	served_stop(&served);
}

static void a_process_may_be_killed_at_any_time(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 100; seed++)
		run_seed(seed, kill_at_any_time, NULL);
}

static void unmap_untold(void *arg)
{
	(void)arg;
	(void)sim_munmap(sim, SPAN(0, 1));
	CHECK(false);
}

static void kill_in_an_event(void *arg)
{
	struct sim_process *child;
	struct sys_event event;

	(void)arg;
	served_start(&served);
	served.keep_children = true;
	heap = map_pages(4);
	served_register(&served, SPAN(0, 4));
	CHECK(!sim_fork(sim, SIM_FORK_RAW, "child", unmap_untold, NULL, &child));
	while (sim_thread_state(sim_thread_get(sim, 2)) != SIM_THREAD_BLOCKED)
		base_host->cpu_yield();
	CHECK(sim_events(sim) == 1);
	sim_kill(sim, child);
	CHECK(sim_events(sim) == 0);
	CHECK(sys->ops->uffd_read(sys, served.last[SYS_EVENT_FORK].child_uffd, &event) ==
	      -EAGAIN);
	sys->ops->uffd_close(sys, served.last[SYS_EVENT_FORK].child_uffd);
	served_stop(&served);
}

static void who_is_killed_in_an_event_does_not_wait_any_more(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 10; seed++)
		run_seed(seed, kill_in_an_event, NULL);
}

static void outlive_main(void *arg)
{
	(void)arg;
	sim_kill(sim, sim_process(sim, 0));
	CHECK(load(PAGE(0)) == 1);
	CHECK(load(PAGE(1)) == 0); /* its holes are holes */
	child_done++;
}

static void be_killed(void *arg)
{
	struct sim_process *child;

	(void)arg;
	child_done = 0;
	served_start(&served);
	served.keep_children = true;
	heap = map_pages(2);
	CHECK(!sim_store(sim, PAGE(0), 1));
	served_register(&served, SPAN(0, 2));
	CHECK(!sim_fork(sim, SIM_FORK_RAW, "child", outlive_main, NULL, &child));
	sim_wait(sim, child);
	CHECK(false);
}

static void the_process_of_the_library_may_die_first(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 30; seed++) {
		run_seed(seed, be_killed, NULL);
		assert_int_equal(child_done, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mappings_are_made_joined_and_split),
		cmocka_unit_test(max_map_count_is_kept),
		cmocka_unit_test(mremap_grows_shrinks_and_moves),
		cmocka_unit_test(mremap_may_move_several),
		cmocka_unit_test(brk_moves_the_end_of_the_heap),
		cmocka_unit_test(each_change_is_told_as_measured),
		cmocka_unit_test(no_order_of_changes_and_faults_blocks_for_ever),
		cmocka_unit_test(pins_swap_and_merging_are_as_measured),
		cmocka_unit_test(a_pin_goes_with_its_page),
		cmocka_unit_test(huge_pages_are_made_moved_and_split),
		cmocka_unit_test(bytes_that_do_not_exist_are_a_mistake_of_the_test),
		cmocka_unit_test(system_calls_do_not_fault_in_user_mode_only),
		cmocka_unit_test(children_have_copies_and_die_when_killed),
		cmocka_unit_test(a_process_may_be_killed_at_any_time),
		cmocka_unit_test(who_is_killed_in_an_event_does_not_wait_any_more),
		cmocka_unit_test(the_process_of_the_library_may_die_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
