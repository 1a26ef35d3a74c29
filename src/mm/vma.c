/* SPDX-License-Identifier: MIT */
/*
 * DOC: VMAs and registration
 *
 * A VMA whose pages are taken is registered with the userfaultfd *whole*: a part
 * would split it, and the program's mremap() over the split would fail (T1).
 * First in write-protect mode alone, which costs the program nothing and lets us
 * hear of its end; with MISSING once pages are to be taken. REGISTER is repeated
 * before every take: it is idempotent, cheap (0.6 us), and what our own table
 * says may be about a mapping that is gone (law 4).
 *
 * A registered VMA does not merge with what is mapped beside it, so each costs the
 * process up to two mappings of the max_map_count that it may have. We use a quarter
 * of those; memory that would need more stays at home.
 *
 * Where the borders of a VMA are was asked a moment ago, and the program does not wait: what
 * is registered can be a part of what it has mapped there since, or of what has grown.
 * That was split then, where the program never made a border. So the neighbours are looked at
 * before and after, and what is new there and looks like the rest of a mapping is registered
 * too: the kernel joins the two. That is done before event_lock is dropped, where it can be:
 * parts that each got a page of their own meanwhile would stay apart, and first touches of
 * what is registered with MISSING have to wait for us. Nothing is unregistered: an mremap()
 * that is not told yet may have brought device pages there.
 *
 * What never migrates, though it is private anonymous memory: the library's own,
 * the writable segments of libc and ld.so, stacks with TLS. sys knows where they
 * are; threads come and go, so the list is read again for each VMA that is seen
 * for the first time, and now and then for the others: a thread's stack can lie in
 * memory that is registered already (pthread_attr_setstack()). To read it takes
 * longer the more threads there are; at most 1/64 of the time goes into it. A thread
 * that is younger than the list may have its stack taken, which is then served like
 * other memory. Before anything is refused, the list is read again in any case.
 */
#include "mm/mm_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/plant.h"

/* Of the time may go into reading the list: one part in so many. */
#define EXCLUSION_SHARE 64
/* So many parts of a mapping that goes on changing are joined in one step. */
#define MENDED_AT_ONCE 8

/* @known: of a VMA that was seen before: the list may be a little old. */
static int exclusions_refresh(struct mm *mm, bool known)
{
	uint64_t start = mm->sys->ops->clock_ns(mm->sys);
	size_t count = 0;
	int err = 0;

	lock_acquire(&mm->exclusion_lock);
	if (known && start < mm->exclusions_due_ns)
		goto unlock;
	err = mm->sys->ops->exclusions(mm->sys, mm->exclusions, MM_EXCLUSIONS_MAX, &count);
	if (err)
		goto unlock;
	mm->exclusion_count = MIN(count, (size_t)MM_EXCLUSIONS_MAX);
	mm->exclusions_due_ns = mm->sys->ops->clock_ns(mm->sys);
	mm->exclusions_due_ns += EXCLUSION_SHARE * (mm->exclusions_due_ns - start);
unlock:
	lock_release(&mm->exclusion_lock);
	return err;
}

static bool is_listed(struct mm *mm, struct span span)
{
	bool excluded = false;

	if (PLANTED(STACKS_TAKEN))
		return false;
	lock_acquire(&mm->exclusion_lock);
	for (size_t i = 0; i < mm->exclusion_count && !excluded; i++)
		excluded = span_overlaps(mm->exclusions[i], span);
	/* A list that did not fit excludes everything: never take a stack. */
	excluded |= mm->exclusion_count == MM_EXCLUSIONS_MAX;
	lock_release(&mm->exclusion_lock);
	return excluded;
}

/* Is there nothing in @span that could migrate? */
static bool is_covered_locked(struct mm *mm, struct span span)
{
	bool covered = false;

	lock_assert_held(&mm->exclusion_lock);
	if (PLANTED(STACKS_TAKEN))
		return false;
	for (size_t i = 0; i < mm->exclusion_count && !covered; i++)
		covered = span_covers(mm->exclusions[i], span);
	return covered;
}

static bool is_covered(struct mm *mm, struct span span)
{
	bool covered;

	lock_acquire(&mm->exclusion_lock);
	covered = is_covered_locked(mm, span);
	lock_release(&mm->exclusion_lock);
	return covered;
}

bool mm_span_excluded(struct mm *mm, struct span span)
{
	/* No memory stays at home by an old list: the thread whose stack it was may be gone. */
	return is_listed(mm, span) && (exclusions_refresh(mm, false) || is_listed(mm, span));
}

uint32_t mm_vma_flags(const struct mm *mm, const struct sys_vma *vma)
{
	const uint32_t rw = SYS_PROT_READ | SYS_PROT_WRITE;

	/* MOVE refuses executable memory, whose protection differs from a frame's. */
	if (mm->why_not || vma->kind != SYS_VMA_ANON_PRIVATE ||
	    (vma->prot & (rw | SYS_PROT_EXEC)) != rw)
		return 0;
	return MM_VMA_MIGRATES;
}

int mm_vma_find(struct mm *mm, uint64_t addr, bool or_next, struct sys_vma *vma,
		uint32_t *flags)
{
	int err = mm->sys->ops->vma_query(mm->sys, addr, or_next, vma);

	if (!err && flags)
		*flags = mm_vma_flags(mm, vma);
	return err;
}

int mm_look(struct mm *mm, uint64_t addr, struct mm_look *look, uint32_t *flags)
{
	look->seq = ATOMIC_LOAD_ACQUIRE(&mm->event_seq);
	return mm_vma_find(mm, addr, false, &look->vma, flags);
}

struct mm_registration *mm_registration_first(struct mm *mm, struct span span)
{
	struct interval_node *node = interval_tree_first(&mm->registrations, span);

	return node ? CONTAINER_OF(node, struct mm_registration, node) : NULL;
}

/* @span is as @like, which may be a node that was put back. */
static void remember(struct mm *mm, struct span span, struct mm_registration like)
{
	struct mm_registration *r;

	lock_assert_held(&mm->event_lock);
	if (span_is_empty(span))
		return;
	r = mm_node_take(mm);
	*r = like;
	r->node.span = span;
	interval_tree_insert(&mm->registrations, &r->node);
}

/* The mapping of @span is gone. */
void mm_registration_forget(struct mm *mm, struct span span)
{
	struct mm_registration *r;

	while ((r = mm_registration_first(mm, span))) {
		struct mm_registration old = *r;
		struct span was = old.node.span;

		interval_tree_remove(&mm->registrations, &r->node);
		mm_node_put(mm, r);
		remember(mm, (struct span){ was.start, MAX(was.start, span.start) }, old);
		remember(mm, (struct span){ MIN(was.end, span.end), was.end }, old);
	}
}

/* Pages of @span were parts of huge pages. */
void mm_vma_saw_huge(struct mm *mm, struct span span)
{
	struct mm_registration *r = mm_registration_first(mm, span);

	if (r)
		r->huge = true;
}

/* mremap(): the VMA is as it was, at another place. What is at the old one, if anything,
 * is so too, until an UNMAP says that nothing is. */
void mm_registration_follow(struct mm *mm, struct span from, struct span to)
{
	struct mm_registration *r = mm_left_first(mm, from);
	struct mm_registration like;

	lock_assert_held(&mm->event_lock);
	if (!r)
		r = mm_registration_first(mm, from);
	if (r)
		like = *r;
	like.told = false;
	mm_registration_forget(mm, to);
	if (r)
		remember(mm, to, like);
}

/* DOFORK for the VMAs of @span, each whole: one may have grown in place, and a part that
 * differs from the rest would be a VMA of its own. Return: false: it is to be tried again. */
static bool inherit_span(struct mm *mm, struct span span)
{
	struct sys_vma vma;
	bool all = true;
	int err = 0;

	while (!span_is_empty(span)) {
		err = mm->sys->ops->vma_query(mm->sys, span.start, true, &vma);
		if (err || vma.span.start >= span.end)
			break;
		if (vma.kind == SYS_VMA_ANON_PRIVATE)
			err = mm->sys->ops->advise(mm->sys, vma.span, SYS_ADVICE_DOFORK);
		/* -ENOMEM: a part is unmapped by now; the rest was changed. */
		all &= !err || err == -ENOMEM;
		err = 0;
		span.start = vma.span.end;
	}
	return all && (!err || err == -ENOENT);
}

/* Nothing is on a device: children may have again what we kept from them. */
void mm_vma_inherit(struct mm *mm)
{
	struct span all = { 0, UINT64_MAX };
	struct interval_node *node = interval_tree_first(&mm->registrations, all);

	lock_assert_held(&mm->event_lock);
	for (; node; node = interval_tree_next(node, all)) {
		struct mm_registration *r = CONTAINER_OF(node, struct mm_registration, node);

		if (r->dontfork)
			r->dontfork = !inherit_span(mm, node->span);
	}
}

static bool is_remembered(struct mm *mm, struct span span, uint32_t mode, bool dontfork)
{
	struct mm_registration *r;

	lock_assert_held(&mm->event_lock);
	r = mm_registration_first(mm, span);
	return r && span_covers(r->node.span, span) && (r->mode & mode) == mode &&
	       (r->dontfork || !dontfork);
}

/* Would @span be one VMA too many? */
static bool is_refused(struct mm *mm, struct span span)
{
	lock_assert_held(&mm->event_lock);
	if (mm_registration_first(mm, span) ||
	    mm->registrations.count < mm->sys->limits.max_map_count / 4 / 2)
		return false;
	mm_stat_add(&mm->stats.refused, 1);
	return true;
}

static bool is_one_vma(struct mm *mm, struct span span)
{
	struct sys_vma vma;

	return !mm->sys->ops->vma_query(mm->sys, span.start, false, &vma) &&
	       span_covers(vma.span, span);
}

/* @span was registered: put it in the table. Under event_lock, so that a fork that closed
 * the gate and gave its child back what we keep from children finds it afterwards. */
static int register_locked(struct mm *mm, struct span span, uint64_t seq, uint32_t mode,
			   bool dontfork)
{
	struct mm_registration now = { .mode = mode, .dontfork = dontfork };
	struct interval_node *node;
	int err = 0;

	lock_assert_held(&mm->event_lock);
	if (mm_changed_since(mm, seq, span) || (dontfork && mm->gate_closed))
		return -EAGAIN;
	/* What is in the table was there, all of it, and nothing that is not told yet: @span
	 * may be older than the events that were read, or an mremap() may have joined what it
	 * brought with it. */
	if (!is_one_vma(mm, span) || mm_message_is_owed(mm)) /* U2 */
		return -EAGAIN;
	if (dontfork)
		err = mm->sys->ops->advise(mm->sys, span, SYS_ADVICE_DONTFORK);
	/* A part is unmapped by now; the event is on its way. The rest was changed, and is
	 * given back: it will not be remembered as it is. */
	if (err == -ENOMEM && inherit_span(mm, span))
		return -EAGAIN;
	if (err && err != -ENOMEM)
		return err;
	/* Splits of neighbours need nodes; a VMA seen with other borders before replaces
	 * what it meets. What it was it still is: REGISTER takes nothing away. */
	node = interval_tree_first(&mm->registrations, span);
	for (; node; node = interval_tree_next(node, span)) {
		struct mm_registration *r = CONTAINER_OF(node, struct mm_registration, node);

		now.mode |= r->mode;
		now.dontfork |= r->dontfork;
		now.huge |= r->huge;
	}
	mm_registration_forget(mm, span);
	remember(mm, span, now);
	return err ? -EAGAIN : 0;
}

/* --- mappings that we split ------------------------------------------------------------ */

/* What touches a span, before it and behind. */
struct beside {
	struct sys_vma low, high;
};

/* Borders that REGISTER may have made; 0: none. */
struct borders {
	uint64_t low, high;
	uint32_t mode; /* of what is registered */
	bool anew;     /* UNREGISTER before: what it has besides is taken back */
	uint32_t part_count;
	struct span parts[2 * MENDED_AT_ONCE]; /* what was registered besides in one step */
};

static struct sys_vma vma_at(struct mm *mm, uint64_t addr)
{
	struct sys_vma vma;

	if (mm->sys->ops->vma_query(mm->sys, addr, false, &vma))
		vma = (struct sys_vma){ .kind = SYS_VMA_SPECIAL };
	return vma;
}

static struct beside look_beside(struct mm *mm, struct span span)
{
	return (struct beside){ vma_at(mm, span.start - 1), vma_at(mm, span.end) };
}

/* Are they two, and alike? */
static bool is_border(const struct sys_vma *low, const struct sys_vma *high)
{
	return low->kind == SYS_VMA_ANON_PRIVATE && high->kind == SYS_VMA_ANON_PRIVATE &&
	       low->prot == high->prot && low->span.end == high->span.start;
}

static bool is_new(struct mm *mm, const struct sys_vma *now, const struct sys_vma *was)
{
	lock_assert_held(&mm->event_lock);
	return (now->span.start != was->span.start || now->span.end != was->span.end ||
		now->prot != was->prot) &&
	       !mm_registration_first(mm, now->span);
}

static void find_borders(struct mm *mm, struct span span, const struct beside *was,
			 struct borders *borders)
{
	struct beside now = look_beside(mm, span);
	struct sys_vma first = vma_at(mm, span.start);
	struct sys_vma last = vma_at(mm, span.end - 1);

	lock_assert_held(&mm->event_lock);
	if (is_border(&now.low, &first) && is_new(mm, &now.low, &was->low))
		borders->low = span.start;
	if (is_border(&last, &now.high) && is_new(mm, &now.high, &was->high))
		borders->high = span.end;
}

static int register_as(struct mm *mm, struct span span, const struct borders *how)
{
	int err = 0;

	lock_assert_held(&mm->event_lock);
	if (how->anew) {
		mm_log_locked(mm, span); /* R1 */
		err = mm->sys->ops->uffd_unregister(mm->sys, mm->uffd, span);
	}
	return err ? err : mm->sys->ops->uffd_register(mm->sys, mm->uffd, span, how->mode);
}

/* REGISTER. What is @known to be registered, and of which no message is owed afterwards,
 * was that all the while: there was nothing to split. */
static int register_looking(struct mm *mm, struct span span, bool known,
			    struct borders *borders)
{
	struct beside was = { .low.prot = 0 };
	struct sys_vma vma;
	int err;

	lock_assert_held(&mm->event_lock);
	if (!known) {
		vma = vma_at(mm, span.start);
		if (vma.span.start != span.start || vma.span.end != span.end)
			return -EAGAIN;
		was = look_beside(mm, span);
	}
	err = register_as(mm, span, borders);
	if (!err && (!known || mm_message_is_owed(mm)))
		find_borders(mm, span, &was, borders);
	return err;
}

/*
 * Register what is at the other side of @border too: the kernel joins what it split. Return:
 * 0 it did, or it was no split, or there is another border now; -EAGAIN a message is owed.
 */
static int mend_step(struct mm *mm, struct borders *borders, bool is_high)
{
	struct borders next = { .mode = borders->mode, .anew = borders->anew };
	uint64_t *border = is_high ? &borders->high : &borders->low;
	struct sys_vma low = vma_at(mm, *border - 1);
	struct sys_vma high = vma_at(mm, *border);
	struct span part = is_high ? high.span : low.span;
	int err;

	lock_assert_held(&mm->event_lock);
	/* Who takes back gives nothing to the monitor, in the library's own memory either. */
	if (!is_border(&low, &high) || (!borders->anew && is_covered_locked(mm, part))) {
		*border = 0;
		return 0;
	}
	/* Nothing is on a device where it is taken back, so nobody doubts where it is. */
	if (!borders->anew && mm_message_is_owed(mm)) /* U1 */
		return -EAGAIN;
	err = register_looking(mm, part, false, &next);
	if (!err)
		borders->parts[borders->part_count++] = part;
	if (err != -EAGAIN)
		*border = is_high ? next.high : next.low;
	return 0;
}

/* Return: 0 whatever was split is whole, or cannot be made so; -EAGAIN. */
static int mend_locked(struct mm *mm, struct borders *borders)
{
	int err = 0;

	lock_assert_held(&mm->event_lock);
	borders->part_count = 0;
	for (uint32_t i = 0; i < MENDED_AT_ONCE && borders->high && !err; i++)
		err = mend_step(mm, borders, true);
	for (uint32_t i = 0; i < MENDED_AT_ONCE && borders->low && !err; i++)
		err = mend_step(mm, borders, false);
	return borders->low || borders->high ? -EAGAIN : 0;
}

/* The list of what never migrates is older than what was just mended by it: memory of the
 * library that is new beside a mapping of the program's looks like the rest of that. Who sleeps
 * there already may hold event_lock: UNREGISTER goes without, and wakes him. */
static void spare_own(struct mm *mm, const struct borders *borders)
{
	if (!borders->part_count || exclusions_refresh(mm, false))
		return;
	for (uint32_t i = 0; i < borders->part_count; i++) {
		if (is_covered(mm, borders->parts[i]))
			(void)mm->sys->ops->uffd_unregister(mm->sys, mm->uffd,
							    borders->parts[i]);
	}
}

/* A message was owed as we split something. */
static void mend(struct mm *mm, struct borders *borders)
{
	int err = -EAGAIN;

	for (uint32_t tries = 0; tries < MM_TAKE_TRIES && err; tries++) {
		uint32_t ticket = mm_event_ticket(mm);

		lock_acquire(&mm->exclusion_lock);
		mm_lock(mm);
		if (mm_remap_settle(mm))
			err = mend_locked(mm, borders);
		mm_unlock(mm, 0);
		lock_release(&mm->exclusion_lock);
		spare_own(mm, borders);
		borders->part_count = 0;
		if (err)
			mm_event_wait(mm, ticket, tries);
	}
}

/* As mm_vma_register(). @borders: where it split something, and could not mend that yet. */
static int register_once(struct mm *mm, struct span span, struct borders *borders)
{
	uint32_t mode = borders->mode;
	bool dontfork = (mode & SYS_REGISTER_MISSING) &&
			!sys_has(mm->sys, SYS_FEATURE_EVENT_FORK);
	uint64_t seq;
	bool known;
	int err;

	err = mm_reserve(mm, MM_EVENT_NODES);
	if (err)
		return err;
	mm_lock(mm);
	seq = mm->event_seq;
	known = is_remembered(mm, span, mode, dontfork);
	err = is_refused(mm, span) ? -EOPNOTSUPP : 0;
	mm_unlock(mm, 0);
	if (!err)
		err = exclusions_refresh(mm, known);
	/* Also the library's own: it is touched with event_lock held, where a hole that is
	 * the monitor's to fill would wait for ever. */
	if (!err && is_covered(mm, span) &&
	    (exclusions_refresh(mm, false) || is_covered(mm, span)))
		err = -EOPNOTSUPP;
	lock_acquire(&mm->exclusion_lock);
	mm_lock(mm);
	if (!err && (!mm_remap_settle(mm) || mm_message_is_owed(mm))) /* U1 */
		err = -EAGAIN;
	if (!err)
		err = register_looking(mm, span, known, borders);
	if (!err && (borders->low || borders->high)) {
		(void)mend_locked(mm, borders);
		err = -EAGAIN;
	}
	if (!err && (!known || dontfork))
		err = register_locked(mm, span, seq, mode, dontfork);
	if (err == -EAGAIN)
		mm_stat_add(&mm->stats.retries, 1);
	mm_unlock(mm, MM_EVENT_NODES);
	lock_release(&mm->exclusion_lock);
	return err;
}

/*
 * Register @vma whole. With MISSING and no EVENT_FORK it is also taken out of
 * children: a raw clone gets SIGSEGV there, never zeros.
 * Return: 0; -EAGAIN it changed meanwhile, or a fork is under way; -EOPNOTSUPP too many
 * are, or nothing in it may migrate; or of REGISTER.
 */
int mm_vma_register(struct mm *mm, const struct sys_vma *vma, uint32_t mode)
{
	struct borders borders = { .mode = mode };
	int err = register_once(mm, vma->span, &borders);

	spare_own(mm, &borders);
	if (borders.low || borders.high)
		mend(mm, &borders);
	return err;
}

/*
 * @span, a VMA a moment ago, and what has grown of it since, goes back to WP. No page is on a
 * device, so none can have come here unseen.
 * Return: 0; -EAGAIN it is another now, nothing was done; or of REGISTER.
 */
int mm_vma_take_back(struct mm *mm, struct span span)
{
	struct borders borders = { .mode = SYS_REGISTER_WP, .anew = true };
	int err;

	lock_assert_held(&mm->event_lock);
	ASSERT(!mm->entry_pages);
	err = register_looking(mm, span, false, &borders);
	/* What goes on growing all the while is left as it is. */
	if (!err && (borders.low || borders.high))
		(void)mend_locked(mm, &borders);
	return err;
}

int mm_vma_watch(struct mm *mm, const struct sys_vma *vma)
{
	if (mm->uffd < 0 || vma->kind != SYS_VMA_ANON_PRIVATE)
		return 0;
	/* Where it cannot be, a range that was unmapped is found at its next fault. */
	return mm_vma_register(mm, vma, SYS_REGISTER_WP) == -EAGAIN ? -EAGAIN : 0;
}
