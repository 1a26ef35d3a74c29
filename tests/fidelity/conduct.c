/* SPDX-License-Identifier: MIT */
/*
 * DOC: conducting
 *
 * One act at a time: begin it, wait until each actor has finished or is asleep in the
 * kernel, write down results and state. So nothing depends on who is faster, and what two
 * kernels say can be compared as text.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/atomic.h"
#include "base/host.h"
#include "kernel.h"

#define UFFD_MAX 10
#define RUN_MAX 256

static struct kernel *kernel;
static struct outcome *out;
static bool is_random;
static bool is_unordered; /* faults */

static struct {
	int fds[UFFD_MAX];
	bool is_open[UFFD_MAX];
	uint32_t count;
} uffds;

static uint8_t source[512 * PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

/* --- words ---------------------------------------------------------------- */

static void PRINTF(1, 2) say(const char *format, ...)
{
	size_t left = sizeof(out->text) - out->length;
	va_list list;
	int got;

	va_start(list, format);
	got = vsnprintf(out->text + out->length, left, format, list);
	va_end(list);
	if (got > 0)
		out->length += (uint32_t)MIN((size_t)got, left - 1);
}

static void say_error(int result)
{
	if (result < 0)
		say("-%s", strerrorname_np(-result));
	else
		say("%d", result);
}

static void say_place(uint64_t addr, uint64_t pages)
{
	const struct span program =
		span_make(kernel->program, PROGRAM_BLOCKS * HUGE_BYTES);
	const struct span arena = span_make(kernel->arena, ARENA_BLOCKS * HUGE_BYTES);
	struct place place = { .count = (uint32_t)pages };
	char text[48];

	if (span_contains(program, addr)) {
		place.first = (uint32_t)((addr - program.start) / PAGE_BYTES);
	} else if (span_contains(arena, addr)) {
		place.first = (uint32_t)((addr - arena.start) / PAGE_BYTES) + ARENA_FIRST;
	} else {
		say("elsewhere+%llu", (unsigned long long)pages);
		return;
	}
	place_format(place, text, sizeof(text));
	say("%s", text);
}

static void say_span(struct span span)
{
	say_place(span.start, span_bytes(span) / PAGE_BYTES);
}

static void count(unsigned int type, int result)
{
	if (result <= 0 && -result < ERRNO_MAX)
		out->counts[type][-result]++;
}

uint64_t place_addr(const struct kernel *of, struct place place)
{
	if (place.first >= ARENA_FIRST)
		return of->arena + (uint64_t)(place.first - ARENA_FIRST) * PAGE_BYTES;
	return of->program + (uint64_t)place.first * PAGE_BYTES;
}

struct span place_span(const struct kernel *of, struct place place)
{
	return span_make(place_addr(of, place), (uint64_t)place.count * PAGE_BYTES);
}

/* --- actors --------------------------------------------------------------- */

static int worker_act(const struct act *act, uint64_t *value)
{
	struct sys *sys = kernel->sys;
	struct span span = place_span(kernel, act->s);
	uint64_t buffer[2] = { act->value, act->value + 1 };
	int err;

	switch (act->type) {
	case ACT_ACCESS:
		err = sys->ops->access(sys, (enum sys_access_op)act->flags, span.start,
				       buffer, sizeof(uint64_t));
		*value = act->flags == SYS_ACCESS_WRITE || err ? 0 : buffer[0];
		return err;
	case ACT_ADVISE:
		return sys->ops->advise(sys, span, (enum sys_advice)act->flags);
	default:
		return sys->ops->empty(sys, span);
	}
}

void actor_run(void *arg)
{
	struct actor *self = arg;

	kernel->begin(self);
	ATOMIC_STORE(&self->ready, 1);
	for (;;) {
		while (!ATOMIC_LOAD(&self->busy))
			kernel->park(&self->busy, 0);
		self->value = 0;
		if (self->who == WHO_WORKER)
			self->result = worker_act(&self->act, &self->value);
		else
			self->result = kernel->call(self, &self->act, &self->value);
		ATOMIC_STORE(&self->busy, 0);
	}
}

static bool may_act(const struct act *act)
{
	bool sys_act = act->type == ACT_ACCESS || act->type == ACT_ADVISE ||
		       act->type == ACT_EMPTY;

	if (act->who == WHO_MONITOR || act->type < ACT_ACCESS)
		return act->who == WHO_MONITOR && act->type < ACT_ACCESS;
	if (sys_act != (act->who == WHO_WORKER))
		return false;
	return act->type != ACT_EXIT || act->who >= WHO_CHILD;
}

/* The one that is not there yet; NULL: no more children. */
static struct actor *next_child(void)
{
	for (unsigned int who = WHO_CHILD; who < WHO_COUNT; who++) {
		struct actor *child = &kernel->actors[who];

		if (!ATOMIC_LOAD(&child->ready) && !child->is_gone)
			return child;
	}
	return NULL;
}

static bool meets(struct place a, struct place b)
{
	return a.first < b.first + b.count && b.first < a.first + a.count;
}

/* With what an actor is at: woken together, either may be first. */
static bool races(const struct act *act)
{
	for (unsigned int who = WHO_WORKER; is_random && who < WHO_COUNT; who++) {
		const struct actor *actor = &kernel->actors[who];

		if (actor->in_act && (meets(act->s, actor->act.s) ||
				      meets(act->s, actor->act.d) ||
				      meets(act->d, actor->act.s)))
			return true;
	}
	return false;
}

static bool begin(const struct act *act)
{
	struct actor *actor = &kernel->actors[act->who];

	if (races(act))
		return false;
	if (!may_act(act) || !ATOMIC_LOAD(&actor->ready) || actor->in_act || actor->is_gone)
		return false;
	actor->act = *act;
	if (act->type == ACT_FORK) {
		struct actor *child = next_child();

		if (!child || act->who >= WHO_CHILD)
			return false;
		child->is_gone = true; /* until it is there */
		actor->act.value = child->who;
	}
	actor->in_act = true;
	ATOMIC_STORE(&actor->busy, 1);
	kernel->unpark(&actor->busy);
	return true;
}

/* Until everyone has finished or sleeps. */
static void settle(void)
{
	for (unsigned int who = WHO_WORKER; who < WHO_COUNT; who++) {
		struct actor *actor = &kernel->actors[who];

		while (actor->in_act) {
			if (actor->act.type == ACT_EXIT ? kernel->is_gone(actor) :
							  !ATOMIC_LOAD(&actor->busy))
				break;
			if (kernel->sleeps(actor))
				break;
			kernel->pause();
		}
	}
}

static void tell_end(struct actor *actor)
{
	const struct act *act = &actor->act;
	struct actor *child = &kernel->actors[act->value % WHO_COUNT];

	actor->in_act = false;
	if (act->type == ACT_EXIT) {
		actor->is_gone = true;
		actor->result = 0;
	}
	if (act->type == ACT_FORK && !actor->result) {
		while (!ATOMIC_LOAD(&child->ready))
			kernel->pause();
		child->is_gone = false;
	}
	count(act->type, actor->result);
	say("%s %s = ", who_name(actor->who), act_name(act->type));
	say_error(actor->result);
	if (!actor->result && act->type == ACT_MREMAP) {
		say(" ");
		say_place(actor->value, act->d.count);
	} else if (!actor->result) {
		say(" %llu", (unsigned long long)actor->value);
	}
	say("\n");
}

static void tell_actors(void)
{
	for (unsigned int who = WHO_WORKER; who < WHO_COUNT; who++) {
		struct actor *actor = &kernel->actors[who];

		if (!actor->in_act)
			continue;
		if (actor->act.type == ACT_EXIT || !ATOMIC_LOAD(&actor->busy))
			tell_end(actor);
		else
			say("%s %s sleeps in %s\n", who_name(who),
			    act_name(actor->act.type), kernel->sleeps(actor));
	}
}

/* --- the monitor's -------------------------------------------------------- */

static void add_uffd(int fd)
{
	if (uffds.count == UFFD_MAX) {
		kernel->sys->ops->uffd_close(kernel->sys, fd);
		say(" closed");
		return;
	}
	uffds.is_open[uffds.count] = true;
	uffds.fds[uffds.count] = fd;
	say(" u%u", uffds.count++);
}

static void say_event(const struct sys_event *event)
{
	static const char *const names[] = { "fault", "unmap", "remove", "remap", "fork" };

	say(" %s ", names[event->type]);
	out->messages[event->type]++;
	if (event->type == SYS_EVENT_FORK) {
		add_uffd(event->child_uffd);
		return;
	}
	if (event->type != SYS_EVENT_FAULT) {
		say_span(event->span);
		if (event->type == SYS_EVENT_REMAP) {
			say(" to ");
			say_place(event->to, span_pages(event->span));
		}
		return;
	}
	say_place(event->addr, 1);
	say("%s%s by ", event->fault_flags & SYS_FAULT_WRITE ? " write" : "",
	    event->fault_flags & SYS_FAULT_WP ? " wp" : "");
	for (unsigned int who = WHO_WORKER; who < WHO_COUNT; who++)
		if (kernel->actors[who].in_act &&
		    kernel->actors[who].thread_id == event->thread_id)
			say("%s", who_name(who));
}

static uint32_t count_sleepers(void)
{
	uint32_t n = 0;

	for (unsigned int who = WHO_WORKER; who < WHO_COUNT; who++)
		n += kernel->actors[who].in_act;
	return n;
}

/* One message; all faults, in the order of their addresses, where several threads were woken
 * together and may have faulted again: any can be first. */
static int read_message(int fd)
{
	struct sys_event events[WHO_COUNT];
	uint32_t want = is_unordered ? count_sleepers() : 1;
	uint32_t got = 0;
	int err = 0;

	while (got < want && !err) {
		err = kernel->sys->ops->uffd_read(kernel->sys, fd, &events[got]);
		got += !err;
		if (err || events[got - 1].type != SYS_EVENT_FAULT)
			break;
	}
	is_unordered = is_unordered && got > 1;
	for (uint32_t i = 0; i < got; i++) {
		for (uint32_t j = i; j > 0 && events[j].type == SYS_EVENT_FAULT &&
				     events[j].addr < events[j - 1].addr; j--) {
			struct sys_event event = events[j];

			events[j] = events[j - 1];
			events[j - 1] = event;
		}
	}
	for (uint32_t i = 0; i < got; i++)
		say_event(&events[i]);
	return got ? 0 : err;
}

static int query(const struct act *act)
{
	const struct span all = span_make(kernel->program, PROGRAM_BLOCKS * HUGE_BYTES);
	struct sys_vma vma = { .prot = 0 };
	int err = kernel->sys->ops->vma_query(kernel->sys, place_addr(kernel, act->s),
					      act->flags, &vma);

	if (!err && act->s.first < ARENA_FIRST && vma.span.start >= all.end)
		err = -ENOENT; /* what is there is not the script's */
	if (!err) {
		say(" ");
		say_span(vma.span);
	}
	return err;
}

static int wiped(void)
{
	const struct span all = span_make(kernel->program, PROGRAM_BLOCKS * HUGE_BYTES);
	struct span spans[64];
	size_t n = 0;
	int err = kernel->sys->ops->wiped_on_fork(kernel->sys, spans, ARRAY_SIZE(spans), &n);

	for (size_t i = 0; i < n && !err; i++) {
		if (!span_covers(all, spans[i]))
			continue;
		say(" ");
		say_span(spans[i]);
	}
	return err;
}

/* Whoever copies from a hole of registered memory waits for itself. */
static bool is_present(struct span span)
{
	struct sys_page_run runs[8];
	struct sys *sys = kernel->sys;
	uint64_t at = span.start, end;
	size_t n;

	if (sys->ops->page_scan(sys, span, runs, ARRAY_SIZE(runs), &n, &end))
		return false;
	for (size_t i = 0; i < n; i++)
		if (runs[i].flags & SYS_PAGE_PRESENT && runs[i].span.start <= at)
			at = MAX(at, runs[i].span.end);
	return at >= span.end;
}

static int copy(const struct act *act, int fd, uint64_t *done)
{
	struct span dst = place_span(kernel, act->s);

	for (uint32_t i = 0; i < act->s.count; i++) {
		uint64_t value = act->value + i;

		memcpy(source + i * PAGE_BYTES, &value, sizeof(value));
	}
	return kernel->sys->ops->uffd_copy(kernel->sys, fd, dst.start, (uintptr_t)source,
					   span_bytes(dst), done);
}

static int copy_from(const struct act *act, int fd, uint64_t *done)
{
	struct span src = place_span(kernel, act->s);

	if (act->s.first < ARENA_FIRST || !is_present(src)) {
		say(" not present");
		return 0;
	}
	return kernel->sys->ops->uffd_copy(kernel->sys, fd, place_addr(kernel, act->d),
					   src.start, span_bytes(src), done);
}

static int uffd_act(const struct act *act, int fd)
{
	struct span span = place_span(kernel, act->s);
	const struct sys_ops *ops = kernel->sys->ops;
	struct sys *sys = kernel->sys;
	uint64_t done = 0;
	int err;

	switch (act->type) {
	case ACT_CLOSE:
		ops->uffd_close(sys, fd);
		uffds.is_open[act->uffd] = false;
		return 0;
	case ACT_REGISTER:
		return ops->uffd_register(sys, fd, span, act->flags);
	case ACT_UNREGISTER:
		return ops->uffd_unregister(sys, fd, span);
	case ACT_WAKE:
		return ops->uffd_wake(sys, fd, span);
	case ACT_POISON:
		return ops->uffd_poison(sys, fd, span);
	case ACT_PROTECT:
	case ACT_UNPROTECT:
		return ops->uffd_writeprotect(sys, fd, span, act->type == ACT_PROTECT);
	case ACT_READ:
		return read_message(fd);
	case ACT_MOVE:
		err = ops->uffd_move(sys, fd, place_addr(kernel, act->d), span.start,
				     span_bytes(span), act->flags, &done);
		break;
	case ACT_COPY:
		err = copy(act, fd, &done);
		break;
	case ACT_COPY_FROM:
		err = copy_from(act, fd, &done);
		break;
	default:
		err = ops->uffd_zeropage(sys, fd, span, &done);
		break;
	}
	say(" %llu pages", (unsigned long long)(done / PAGE_BYTES));
	return err;
}

/* A thread on its way to sleep cannot be told from one in a call. */
static int in_flight(void)
{
	bool busy = false;
	int err;

	for (unsigned int who = WHO_WORKER; who < WHO_CHILD; who++)
		while (!kernel->actors[who].in_act &&
		       !kernel->is_parked(&kernel->actors[who]))
			kernel->pause();
	err = kernel->sys->ops->madvise_in_flight(kernel->sys, &busy);
	say(" %s", busy ? "busy" : "idle");
	return err;
}

static int monitor_act(const struct act *act)
{
	struct sys *sys = kernel->sys;
	const struct actor *worker = &kernel->actors[WHO_WORKER];
	int err, fd;

	switch (act->type) {
	case ACT_OPEN:
		err = sys->ops->uffd_open(sys, &fd);
		if (!err)
			add_uffd(fd);
		return err;
	case ACT_QUERY:
		return query(act);
	case ACT_IN_FLIGHT:
		return in_flight();
	case ACT_WIPED:
		return wiped();
	default: /* ACT_KICK: of an access, or before one */
		if (!worker->in_act || worker->act.type == ACT_ACCESS)
			sys->ops->thread_kick(sys, worker->thread_id);
		return 0;
	}
}

static bool monitor_does(const struct act *act)
{
	bool is_uffd = act->type >= ACT_CLOSE && act->type <= ACT_READ;
	int err;

	if (!may_act(act) || (is_uffd && (act->uffd >= uffds.count ||
					  !uffds.is_open[act->uffd])))
		return false;
	if (act->type == ACT_REGISTER && !act->flags)
		return false;
	if (act->type != ACT_READ && is_uffd && count_sleepers() > 1)
		is_unordered = true;
	if (act->type == ACT_CLOSE && is_random && count_sleepers() > 1)
		return false;
	say("m %s:", act_name(act->type));
	err = is_uffd ? uffd_act(act, uffds.fds[act->uffd]) : monitor_act(act);
	say(" = ");
	say_error(err);
	say("\n");
	count(act->type, err);
	return true;
}

/* --- what can be seen ------------------------------------------------------ */

static void tell_vmas(struct span all)
{
	static const char *const kinds[] = { "private", "shared", "file private",
					     "file shared", "hugetlb", "stack", "special" };
	uint64_t at = all.start;
	struct sys_vma vma;

	while (at < all.end && !kernel->sys->ops->vma_query(kernel->sys, at, true, &vma)) {
		if (vma.span.start >= all.end)
			break;
		say("  vma ");
		say_span(vma.span);
		say(" %c%c%c %s\n", vma.prot & SYS_PROT_READ ? 'r' : '-',
		    vma.prot & SYS_PROT_WRITE ? 'w' : '-',
		    vma.prot & SYS_PROT_EXEC ? 'x' : '-', kinds[vma.kind]);
		at = vma.span.end;
	}
}

static void tell_flags(uint32_t flags)
{
	static const char *const words[] = { "present", "swapped", "huge",
					     "zero",    "written", "guard" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (flags >> i & 1)
			say(" %s", words[i]);
	say("\n");
}

/* The first word of pages at the ends of blocks: scripts play there. */
static void tell_words(struct span run)
{
	for (uint64_t at = run.start; at < run.end; at += PAGE_BYTES) {
		uint64_t page = at / PAGE_BYTES % 512;
		uint64_t word;

		if (page >= 16 && page < 511) {
			at += (510 - page) * PAGE_BYTES;
			continue;
		}
		if (!kernel->peek(at, &word)) {
			say("  word ");
			say_place(at, 1);
			say(" cannot be read\n");
		} else if (word) {
			say("  word ");
			say_place(at, 1);
			say(" %llu\n", (unsigned long long)word);
		}
	}
}

/* The hash of states[] goes over page after page. */
static void hash_run(struct span run, uint32_t flags)
{
	uint64_t *hash = &out->states[out->done].hash;

	out->states[out->done].was_huge |= !!(flags & SYS_PAGE_HUGE);
	flags &= ~(uint32_t)SYS_PAGE_ZERO;
	for (uint64_t at = run.start; at < run.end; at += PAGE_BYTES)
		*hash = (*hash ^ at ^ flags) * 0x100000001b3u;
}

static void tell_pages(struct span all, uint64_t start)
{
	static struct sys_page_run runs[RUN_MAX];
	struct sys *sys = kernel->sys;
	size_t n = 0;
	uint64_t end;
	int err = sys->ops->page_scan(sys, all, runs, RUN_MAX, &n, &end);

	if (err) {
		say("  scan ");
		say_error(err);
		say("\n");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		say("  pages ");
		say_span(runs[i].span);
		tell_flags(runs[i].flags);
		hash_run(span_make(runs[i].span.start - start, span_bytes(runs[i].span)),
			 runs[i].flags);
		if (runs[i].flags & SYS_PAGE_PRESENT)
			tell_words(runs[i].span);
	}
}

static void tell_state(void)
{
	struct span program = span_make(kernel->program, PROGRAM_BLOCKS * HUGE_BYTES);
	struct span arena = span_make(kernel->arena, ARENA_BLOCKS * HUGE_BYTES);

	out->states[out->done].text = out->length;
	out->states[out->done].hash = 0;
	out->states[out->done].was_huge = out->done && out->states[out->done - 1].was_huge;
	tell_vmas(program);
	tell_pages(program, program.start);
	tell_pages(arena, arena.start - GIB(1));
}

/* --- all of it ------------------------------------------------------------- */

static void set_up(void)
{
	struct sys *sys = kernel->sys;
	struct sys_thread_attr attr = {
		.name = "worker",
		.run = actor_run,
		.arg = &kernel->actors[WHO_WORKER],
		.flags = SYS_THREAD_SHARE_FILES,
	};
	struct sys_thread *thread;

	uffds.count = 0;
	if (sys->ops->uffd_open(sys, &uffds.fds[0]) ||
	    sys->ops->map(sys, ARENA_BLOCKS * HUGE_BYTES, HUGE_BYTES, 0x210000000000,
			  &kernel->arena) ||
	    sys->ops->thread_create(sys, &attr, &thread))
		base_host->die("fidelity: no userfaultfd, arena or thread\n");
	uffds.is_open[uffds.count++] = true;
	for (unsigned int who = WHO_WORKER; who < WHO_CHILD; who++)
		while (!ATOMIC_LOAD(&kernel->actors[who].ready))
			kernel->pause();
}

void conduct_on(struct kernel *with)
{
	kernel = with;
	for (unsigned int who = 0; who < WHO_COUNT; who++)
		kernel->actors[who].who = (uint8_t)who;
}

void conduct(const struct script *script, struct outcome *outcome)
{
	out = outcome;
	is_random = script->is_random;
	set_up();
	for (size_t i = 0; i < script->count; i++) {
		const struct act *act = &script->acts[i];

		out->texts[i] = out->length;
		if (act->who == WHO_MONITOR ? !monitor_does(act) : !begin(act))
			say("not done\n");
		settle();
		tell_actors();
		tell_state();
		out->done++;
		out->texts[i + 1] = out->length;
	}
	out->is_complete = true;
}
