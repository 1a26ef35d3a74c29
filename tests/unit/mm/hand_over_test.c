/* SPDX-License-Identifier: MIT */
/*
 * From owner to owner: what changes hands, what stays, and that both accounts are right.
 */
#include "mm_fixture.h"

/* Who gets the pages: frame n of it is page n of the second half of the arena. */
struct peer {
	struct owner owner;
	uint64_t done_max;     /* fetch() ends so far from the start; 0: it does all */
	int error;             /* and says so */
	uint32_t fetches;
	bool refuses;          /* nobody is its peer */
	bool copies;           /* and does not ask the kernel */
};

static struct peer peer;

static bool peer_is_peer(const struct mm_entry_owner *owner, const struct mm_entry_owner *other)
{
	assert_ptr_equal(owner, &peer.owner.owner);
	assert_ptr_not_equal(owner, other);
	return !peer.refuses;
}

static int peer_fetch(struct mm_entry_owner *owner, uint64_t frame, const struct mm_entry *entry,
		      uint64_t *done)
{
	struct owner *from = CONTAINER_OF(entry->owner, struct owner, owner);
	uint64_t bytes = span_bytes(entry->node.span);
	int err;

	assert_ptr_equal(owner, &peer.owner.owner);
	lock_assert_monitor();
	assert_int_equal(entry->state, MM_ENTRY_DEVICE);
	peer.fetches++;
	if (peer.done_max || peer.error)
		bytes = MIN(bytes, peer.done_max);
	*done = peer.copies ? bytes : 0;
	if (peer.copies) {
		struct sys *sys = peer.owner.f->sys;

		memcpy(sys->ops->pointer(sys, peer.owner.memory + frame, bytes),
		       sys->ops->pointer(sys, from->memory + entry->frame, bytes), bytes);
	}
	if (!bytes || peer.copies)
		return peer.error;
	err = mm_frames_move_locked(peer.owner.f->mm, peer.owner.memory + frame,
				    from->memory + entry->frame, bytes, done);
	return err ? err : peer.error;
}

static struct mm_entry_ops peer_ops;

static int set_up_peer(void **state)
{
	int err = set_up(state);
	struct fixture *f = *state;

	memset(&peer, 0, sizeof(peer));
	owner_init(f, &peer.owner, f->arena + MIB(2));
	peer_ops = owner_ops;
	peer_ops.is_peer = peer_is_peer;
	peer_ops.fetch = peer_fetch;
	peer.owner.owner.ops = &peer_ops;
	heap_fill(f, 0, 64);
	return err;
}

static struct mm_hand_over hand_of(uint64_t page, uint64_t pages)
{
	return (struct mm_hand_over){
		.span = heap_span(page, pages),
		.owner = &peer.owner.owner,
		.frame = page * PAGE_BYTES,
		.why = MM_EVENT_MIGRATE,
	};
}

/* Return: how many pages changed hands. */
static uint64_t hand_over(struct fixture *f, uint64_t page, uint64_t pages)
{
	struct mm_hand_over hand = hand_of(page, pages);

	assert_int_equal(mm_hand_over(f->mm, &hand), 0);
	return hand.pages;
}

static const struct mm_entry_owner *owner_of(struct fixture *f, uint64_t addr)
{
	struct mm_entry *entry;

	lock_acquire(mm_event_lock(f->mm));
	entry = mm_entry_first(f->mm, span_make(addr, PAGE_BYTES));
	lock_release(mm_event_lock(f->mm));
	return entry ? entry->owner : NULL;
}

static void expect_peers(struct fixture *f, uint64_t page, uint64_t pages)
{
	for (uint64_t i = page; i < page + pages; i++)
		assert_ptr_equal(owner_of(f, heap(i)), &peer.owner.owner);
}

static void expect_first(struct fixture *f, uint64_t page, uint64_t pages)
{
	for (uint64_t i = page; i < page + pages; i++)
		assert_ptr_equal(owner_of(f, heap(i)), &f->owner.owner);
}

/* --- what goes ---------------- */

static void pages_change_hands_and_both_count_right(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(take_pages(f, 0, 16), 16);
	assert_int_equal(hand_over(f, 4, 8), 8);
	expect_first(f, 0, 4);
	expect_peers(f, 4, 8);
	expect_first(f, 12, 4);
	assert_int_equal(f->owner.owner.page_count, 8);
	assert_int_equal(peer.owner.owner.page_count, 8);
	assert_int_equal(mm_entry_pages(f->mm), 16);
	assert_int_equal(fake_tag(f->fake, f->arena + MIB(2) + 5 * PAGE_BYTES), tag_of(5));
	assert_int_equal(fake_page(f->fake, f->arena + 5 * PAGE_BYTES), 0);
	assert_int_equal(stats_of(f).peer_moved_pages, 8);
	assert_int_equal(f->owner.empties, 0);
	/* The rest: the last page tells its owner. */
	assert_int_equal(hand_over(f, 0, 16), 8);
	assert_int_equal(f->owner.empties, 1);
	assert_int_equal(peer.owner.owner.page_count, 16);
	/* It is one run again. */
	assert_int_equal(peer.fetches, 3);
	mm_check(f->mm);
	expect_tags(f, 0, 16);
	assert_int_equal(peer.owner.empties, 1);
}

static void a_hole_on_one_device_is_a_hole_on_the_other(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 60, 8);

	take.fill = take.span;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take.filled_pages, 4);
	fake_set_tag(f->fake, f->arena + MIB(2) + 65 * PAGE_BYTES, 99); /* left there */
	assert_int_equal(hand_over(f, 60, 8), 8);
	assert_int_equal(cpu_read(f, heap(65)), 0);
	expect_tags(f, 60, 4);
}

static void what_stands_alone_is_not_touched(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(take_pages(f, 4, 4), 4);
	peer.refuses = true;
	assert_int_equal(hand_over(f, 0, 16), 0);
	peer.refuses = false;
	assert_int_equal(hand_over(f, 8, 16), 0); /* at home */
	assert_int_equal(peer.fetches, 0);
	expect_first(f, 4, 4);
	expect_tags(f, 0, 16);
}

/* --- what does not ---------------- */

/* The first device has all that is to be handed over. */
static struct mm_hand_over take_all(struct fixture *f)
{
	assert_int_equal(take_pages(f, 0, 16), 16);
	return hand_of(0, 16);
}

static void expect_untouched(struct fixture *f, const struct mm_hand_over *hand)
{
	assert_int_equal(hand->pages, 0);
	expect_first(f, 0, 16);
}

static void what_fails_stays_and_what_came_before_came(void **state)
{
	struct fixture *f = *state;
	struct mm_hand_over hand = take_all(f);

	peer.error = -EIO;
	assert_int_equal(mm_hand_over(f->mm, &hand), -EIO);
	expect_untouched(f, &hand);
	peer.done_max = 3 * PAGE_BYTES;
	assert_int_equal(mm_hand_over(f->mm, &hand), -EIO);
	assert_int_equal(hand.pages, 3);
	expect_peers(f, 0, 3);
	expect_first(f, 3, 13);
	mm_check(f->mm);
	expect_tags(f, 0, 16);
}

static void no_nodes_is_enomem(void **state)
{
	struct fixture *f = *state;
	struct mm_hand_over hand = take_all(f);

	fake_fail_for_ever(f->fake, "pages_alloc", 1, ENOMEM);
	(void)!mm_hand_over(f->mm, &hand); /* there may be enough */
	fake_fail(f->fake, "pages_alloc", 1, 0);
	assert_true(hand.pages == 0 || hand.pages == 16);
	expect_tags(f, 0, 16);
}

static void while_a_fork_is_under_way_nothing_goes(void **state)
{
	struct fixture *f = *state;
	struct mm_hand_over hand = take_all(f);

	mm_lock(f->mm);
	f->mm->gate_closed = 1;
	mm_unlock(f->mm, 0);
	assert_int_equal(mm_hand_over(f->mm, &hand), -EBUSY);
	mm_lock(f->mm);
	f->mm->gate_closed = 0;
	mm_unlock(f->mm, 0);
	expect_untouched(f, &hand);
	expect_tags(f, 0, 16);
}

static void frames_that_stay_dirty_are_not_used(void **state)
{
	struct fixture *f = *state;
	struct mm_hand_over hand = take_all(f);

	fake_set_tag(f->fake, f->arena + MIB(2) + 5 * PAGE_BYTES, 99);
	fake_fail_for_ever(f->fake, "empty", 1, ENOMEM);
	assert_int_equal(mm_hand_over(f->mm, &hand), -EBUSY);
	fake_fail(f->fake, "empty", 1, 0);
	assert_int_equal(hand.pages, 0);
	expect_tags(f, 0, 16);
}

static void frames_whose_pages_went_elsewhere_are_not_used(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(take_pages(f, 0, 16), 16);
	assert_int_equal(hand_over(f, 0, 16), 16);
	assert_int_equal(fake_mremap(f->fake, heap_span(4, 4), OTHER, true), 0);
	settle(f);
	for (uint64_t i = 4; i < 8; i++)
		fake_set_tag(f->fake, heap(i), 50 + (uint32_t)i);
	assert_int_equal(take_pages(f, 4, 4), 4);
	assert_int_equal(hand_over(f, 4, 4), 0);
	expect_first(f, 4, 4);
	for (uint64_t i = 4; i < 8; i++) {
		assert_int_equal(cpu_read(f, heap(i)), 50 + i);
		assert_int_equal(cpu_read(f, OTHER + (i - 4) * PAGE_BYTES), tag_of(i));
	}
}

/* --- what is on the way, or in doubt ---------------- */

static struct mm_take *moving;

static void finish_hook(void *arg)
{
	struct fixture *f = arg;

	if (moving && !base_host->self()->held_count) {
		mm_take_finish(f->mm, moving);
		moving = NULL;
	}
}

static void what_is_moving_is_waited_for(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 16);

	take.moving = true;
	assert_int_equal(mm_take(f->mm, &take), 0);
	moving = &take;
	f->fake->yield_hook = finish_hook;
	assert_int_equal(hand_over(f, 0, 16), 16);
	f->fake->yield_hook = NULL;
	expect_peers(f, 0, 16);
	expect_tags(f, 0, 16);
}

static void what_moves_for_ever_is_left(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 8);
	struct mm_hand_over hand = hand_of(0, 16);

	take.moving = true;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take_pages(f, 8, 8), 8);
	assert_int_equal(mm_hand_over(f->mm, &hand), -EBUSY);
	assert_int_equal(hand.pages, 8);
	expect_peers(f, 8, 8);
	mm_take_finish(f->mm, &take);
	expect_tags(f, 0, 16);
}

/* An UNMAP that is older than the REMAP that brought a page says nothing of it, whoever has
 * it by then. */
static void who_has_it_does_not_change_how_it_came(void **state)
{
	struct fixture *f = *state;
	struct mm_hand_over hand = {
		.span = span_make(OTHER, 16 * PAGE_BYTES),
		.owner = &peer.owner.owner,
		.why = MM_EVENT_MIGRATE,
	};

	fake_map(f->fake, hand.span, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	fake_set_tag(f->fake, OTHER, 1);
	assert_int_equal(take_pages(f, 0, 16), 16);
	{
		struct mm_take take = take_of(f, 64, 16);

		take.span = hand.span; /* so that the place is registered */
		assert_int_equal(mm_take(f->mm, &take), 0);
	}
	fake_munmap_untold(f->fake, hand.span);
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 16), OTHER, false), 0);
	settle(f);
	peer.copies = true;
	assert_int_equal(mm_hand_over(f->mm, &hand), 0);
	assert_int_equal(hand.pages, 16);
	fake_tell(f->fake);
	settle(f);
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(cpu_read(f, OTHER + i * PAGE_BYTES), tag_of(i));
}

static void an_event_in_flight_is_waited_for(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(take_pages(f, 0, 16), 16);
	fake_munmap(f->fake, heap_span(2, 1));
	f->fake->yield_hook = settle_hook;
	assert_int_equal(hand_over(f, 0, 16), 15);
	f->fake->yield_hook = NULL;
	assert_true(stats_of(f).retries > 0);
	expect_tags(f, 0, 2);
	expect_tags(f, 3, 13);
	assert_int_equal(fake_touch(f->fake, heap(2), false), -EFAULT);
}

/* --- who is told ---------------- */

struct watcher {
	struct fixture *f;
	struct mm_notifier notifier;
	uint32_t calls;
	struct span span;
};

static void watch(struct mm_notifier *notifier, const struct mm_event *event)
{
	struct watcher *w = CONTAINER_OF(notifier, struct watcher, notifier);

	assert_int_equal(event->type, MM_EVENT_MIGRATE);
	/* Before it goes. */
	assert_int_equal(fake_tag(w->f->fake, w->f->arena + 5 * PAGE_BYTES), tag_of(5));
	w->span = event->span;
	w->calls++;
}

static void translations_are_revoked_before_pages_go(void **state)
{
	static const struct mm_notifier_ops ops = { .invalidate = watch };
	struct fixture *f = *state;
	struct watcher w = { .f = f };

	assert_int_equal(take_pages(f, 0, 16), 16);
	mm_notifier_insert(f->mm, &w.notifier, HEAP_VMA, &ops);
	assert_int_equal(hand_over(f, 0, 16), 16);
	assert_int_equal(w.calls, 1);
	assert_true(span_covers(w.span, heap_span(0, 16)));
	/* Nobody is stopped for nothing. */
	assert_int_equal(hand_over(f, 0, 16), 0);
	assert_int_equal(w.calls, 1);
	mm_notifier_remove(f->mm, &w.notifier);
	expect_tags(f, 0, 16);
}

#define PEER_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_peer, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PEER_TEST(pages_change_hands_and_both_count_right),
		PEER_TEST(a_hole_on_one_device_is_a_hole_on_the_other),
		PEER_TEST(what_stands_alone_is_not_touched),
		PEER_TEST(what_fails_stays_and_what_came_before_came),
		PEER_TEST(no_nodes_is_enomem),
		PEER_TEST(while_a_fork_is_under_way_nothing_goes),
		PEER_TEST(frames_that_stay_dirty_are_not_used),
		PEER_TEST(frames_whose_pages_went_elsewhere_are_not_used),
		PEER_TEST(what_is_moving_is_waited_for),
		PEER_TEST(what_moves_for_ever_is_left),
		PEER_TEST(who_has_it_does_not_change_how_it_came),
		PEER_TEST(an_event_in_flight_is_waited_for),
		PEER_TEST(translations_are_revoked_before_pages_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
