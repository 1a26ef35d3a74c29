/* SPDX-License-Identifier: MIT */
/*
 * DOC: userfaultfds of the simulated kernel
 *
 * A message that is no fault belongs to a call of the program, which waits for it:
 *
 *     HELD --> QUEUED --> READ --> done, by the caller
 *      the caller   read()    the caller
 *      runs                   runs
 *
 * What the call does is done before its first message is QUEUED, and a caller may be
 * preempted between: then another's message, of a later change, is read first.
 *
 * From the call on until all its messages are done the userfaultfd is *changing*, and
 * MOVE, COPY, ZEROPAGE, WRITEPROTECT and POISON say -EAGAIN: not until read(), but until
 * the caller runs (U-5). A second message of a call is HELD until the first is done.
 *
 * read() gives all faults first, then the messages in their order (U-3).
 */
#include <errno.h>

#include "sys/sim_internal.h"

/* --- descriptors ---------------------------------------------------------- */

uint8_t sim_uffd_new(struct sim *sim, struct sim_process *process)
{
	uint32_t index = 1;

	while (index < sim->uffd_count && sim->uffds[index].process)
		index++;
	SIM_MUST(index <= SIM_UFFDS_MAX);
	sim->uffd_count = MAX(sim->uffd_count, index + 1);
	sim->uffds[index] = (struct sim_uffd){ .process = process,
					       .index = (uint8_t)index };
	list_init(&sim->uffds[index].events);
	return (uint8_t)index;
}

struct sim_uffd *sim_uffd_get(struct sim *sim, int fd)
{
	uint32_t index = (uint32_t)(fd - SIM_UFFD_FIRST);

	SIM_MUST(index > 0 && index < sim->uffd_count && sim->uffds[index].process);
	SIM_MUST(sim->uffds[index].is_open);
	/* Only threads with the private file table have it. */
	SIM_MUST(!sim->current || sim->current->has_files ||
		 !(sim->current->base.is_library));
	return &sim->uffds[index];
}

bool sim_uffd_is_readable(const struct sim_uffd *uffd)
{
	return !uffd->process->dead &&
	       (uffd->unread_faults || !list_is_empty(&uffd->events));
}

/* --- messages ------------------------------------------------------------- */

void sim_event_tell(struct sim *sim, struct sim_event *event)
{
	list_remove(&event->link);
	if (!event->uffd) { /* closed meanwhile: nobody waits for its reader */
		event->state = SIM_EVENT_READ;
		list_push_back(&sim->other_events, &event->link);
		return;
	}
	event->state = SIM_EVENT_QUEUED;
	list_push_back(&event->uffd->events, &event->link);
	sim_wake_uffd_waiters(sim);
}

void sim_event_send(struct sim_call *call, struct sim_process *process, uint8_t uffd,
		    const struct sys_event *message)
{
	struct sim *sim = process->sim;
	struct list *node = list_pop_front(&sim->free_events);
	struct sim_event *event;

	event = node ? LIST_ENTRY(node, struct sim_event, link) :
		       sim_alloc(sim, sizeof(*event));
	*event = (struct sim_event){
		.event = *message,
		.uffd = &sim->uffds[uffd],
		.process = process,
	};
	list_init(&event->link);
	event->uffd->changing++;
	sim->event_count++;
	event->state = SIM_EVENT_HELD;
	list_push_back(&sim->other_events, &event->link);
	if (call->last)
		call->last->next = event;
	else
		call->first = event;
	if (!call->last && !sim->current && !call->is_late)
		sim_event_tell(sim, event);
	call->last = event;
}

/* One message for each userfaultfd that has something in @span. */
void sim_event_send_all(struct sim_call *call, struct sim_process *process,
			struct span span, enum sys_event_type type)
{
	struct sys_event message = { .type = type, .span = span };
	uint64_t told[(SIM_UFFDS_MAX + 64) / 64] = { 0 };
	size_t i = sim_vma_index(process, span.start);

	for (; i < process->vma_count && process->vmas[i].span.start < span.end; i++) {
		uint8_t uffd = process->vmas[i].uffd;

		if (!uffd || told[uffd / 64] >> (uffd % 64) & 1)
			continue;
		told[uffd / 64] |= 1ull << (uffd % 64);
		sim_event_send(call, process, uffd, &message);
	}
}

/* The caller runs on: what it waited for was read. */
void sim_event_done(struct sim *sim, struct sim_event *event)
{
	SIM_MUST(event->state == SIM_EVENT_READ);
	if (event->uffd) {
		event->uffd->changing--;
		sim->event_count--;
	}
	if (event->next && !event->waiter)
		sim_event_tell(sim, event->next);
	list_remove(&event->link);
	list_push_back(&sim->free_events, &event->link);
}

/* Nobody waits for it any more: the caller was killed, or the userfaultfd is closed. */
static void event_release(struct sim *sim, struct sim_event *event)
{
	if (event->event.type == SYS_EVENT_FORK && event->child && !event->child->is_open)
		sim_uffd_release(sim, event->child);
	event->child = NULL;
	if (event->uffd) {
		event->uffd->changing--;
		sim->event_count--;
		event->uffd = NULL;
	}
}

/* The caller of @event and of those behind it is gone. */
void sim_event_cancel(struct sim *sim, struct sim_event *event)
{
	while (event) {
		struct sim_event *next = event->next;

		event_release(sim, event);
		list_remove(&event->link);
		list_push_back(&sim->free_events, &event->link);
		event = next;
	}
}

static const char *event_name(enum sys_event_type type)
{
	static const char *const names[] = { "", "event unmap", "event remove",
					     "event remap", "event fork" };

	return names[type];
}

/* The caller waits for each of its messages. Outside of threads it does not: the user
 * makes it run with sim_event_done(). */
void sim_call_wait(struct sim *sim, struct sim_call *call)
{
	struct sim_event *event = call->first;
	struct sim_thread *self = sim->current;

	if (!self || sim->quiet)
		return;
	while (event) {
		struct sim_event *next = event->next;

		event->waiter = self;
		self->event = event;
		sim_half_way();
		sim_event_tell(sim, event);
		while (event->state != SIM_EVENT_READ)
			sim_block(sim, event_name(event->event.type),
				  event->event.span.start, BASE_FOREVER);
		self->event = next;
		sim_event_done(sim, event);
		event = next;
	}
	call->first = NULL;
	call->last = NULL;
}

/* --- the end of one ------------------------------------------------------- */

static void events_release(struct sim *sim, struct list *head, struct sim_uffd *uffd)
{
	LIST_FOR_EACH_SAFE(node, head) {
		struct sim_event *event = LIST_ENTRY(node, struct sim_event, link);

		if (event->uffd != uffd)
			continue;
		event_release(sim, event);
		if (event->state == SIM_EVENT_QUEUED) {
			event->state = SIM_EVENT_READ;
			list_remove(&event->link);
			list_push_back(&sim->other_events, &event->link);
			if (event->waiter)
				sim_wake(sim, event->waiter);
		}
	}
}

static void vma_unregister(struct sim_process *process, struct sim_vma *vma)
{
	struct sim_uffd *uffd = &process->sim->uffds[vma->uffd];
	struct span span = vma->span;
	bool missing = vma->mode & SYS_REGISTER_MISSING;

	if (vma->mode & SYS_REGISTER_WP)
		sim_unprotect(process, span);
	vma->uffd = 0;
	vma->mode = 0;
	if (missing)
		sim_fault_wake(process->sim, uffd, span);
}

/* Close: nothing is registered any more, whoever sleeps wakes, and holes are holes. */
void sim_uffd_release(struct sim *sim, struct sim_uffd *uffd)
{
	struct sim_process *process = uffd->process;

	for (size_t i = 0; i < process->vma_count; i++)
		if (process->vmas[i].uffd == uffd->index)
			vma_unregister(process, &process->vmas[i]);
	sim_vma_merge(process, sim->window);
	events_release(sim, &uffd->events, uffd);
	events_release(sim, &sim->other_events, uffd);
	LIST_FOR_EACH_SAFE(node, &sim->faults) {
		struct sim_fault *fault = LIST_ENTRY(node, struct sim_fault, link);

		if (fault->uffd == uffd->index)
			sim_fault_end(sim, fault);
	}
	SIM_MUST(!uffd->changing && !uffd->unread_faults);
	uffd->process = NULL;
	uffd->is_open = false;
	sim_wake_uffd_waiters(sim);
}

/* --- registration --------------------------------------------------------- */

static int register_check(const struct sim *sim, const struct sim_vma *vma,
			  const struct sim_uffd *uffd, uint32_t mode)
{
	bool is_file = vma->kind == SYS_VMA_FILE_PRIVATE || vma->kind == SYS_VMA_FILE_SHARED;

	if (vma->kind == SYS_VMA_SPECIAL)
		return -EINVAL;
	if (is_file && (mode != SYS_REGISTER_WP || !sim_feature(sim, SYS_FEATURE_WP_ASYNC)))
		return -EINVAL;
	if (vma->uffd && vma->uffd != uffd->index)
		return -EBUSY;
	return 0;
}

/* A kernel says -EINVAL of what is not mapped. sys says -ENOENT after a look of its own,
 * which is at its own process. */
static bool is_mapped_at_home(const struct sim *sim, struct span span)
{
	const struct sim_process *home = sim->processes[0];
	size_t i = sim_vma_index(home, span.start);

	return i < home->vma_count && home->vmas[i].span.start < span.end;
}

int sim_do_uffd_register(struct sim *sim, struct sim_uffd *uffd, struct span span,
			 uint32_t mode)
{
	struct sim_process *process = uffd->process;
	size_t i = sim_vma_index(process, span.start);
	bool found = false;
	int err;

	SIM_MUST(mode && !(mode & ~(uint32_t)(SYS_REGISTER_WP | SYS_REGISTER_MISSING)));
	if (process->dead)
		return -ENOMEM;
	for (; i < process->vma_count && process->vmas[i].span.start < span.end; i++) {
		err = register_check(sim, &process->vmas[i], uffd, mode);
		if (err)
			return err;
		found = true;
	}
	if (!found && is_mapped_at_home(sim, span))
		return -EINVAL;
	if (!found)
		return -ENOENT;
	return sim_vma_set_mode(process, span, uffd->index, mode);
}

int sim_do_uffd_unregister(struct sim_uffd *uffd, struct span span)
{
	struct sim_process *process = uffd->process;
	bool found = false;

	if (process->dead)
		return -ENOMEM;
	for (size_t i = sim_vma_index(process, span.start);
	     i < process->vma_count && process->vmas[i].span.start < span.end; i++)
		if (process->vmas[i].uffd && process->vmas[i].uffd != uffd->index)
			return -EINVAL;
	while (span.start < span.end) {
		size_t i = sim_vma_index(process, span.start), end;
		struct span part;
		int err;

		if (i == process->vma_count || process->vmas[i].span.start >= span.end)
			break;
		found = true;
		part = span_intersect(span, process->vmas[i].span);
		span.start = part.end;
		if (process->vmas[i].uffd != uffd->index)
			continue;
		err = sim_vma_isolate(process, part, &i, &end);
		if (err)
			return err;
		vma_unregister(process, &process->vmas[i]);
		sim_vma_merge(process, part);
	}
	return found ? 0 : -EINVAL;
}

/* --- read() --------------------------------------------------------------- */

int sim_do_uffd_read(struct sim *sim, struct sim_uffd *uffd, struct sys_event *out)
{
	struct sim_event *event;

	if (uffd->process->dead)
		return -EAGAIN; /* only what acts on its memory says -ESRCH */
	if (uffd->unread_faults) {
		LIST_FOR_EACH(node, &sim->faults) {
			struct sim_fault *fault = LIST_ENTRY(node, struct sim_fault, link);

			if (fault->uffd != uffd->index || fault->read)
				continue;
			fault->read = true;
			uffd->unread_faults--;
			*out = fault->event;
			return 0;
		}
	}
	if (list_is_empty(&uffd->events))
		return -EAGAIN;
	event = LIST_ENTRY(list_pop_front(&uffd->events), struct sim_event, link);
	list_push_back(&sim->other_events, &event->link);
	event->state = SIM_EVENT_READ;
	*out = event->event;
	if (event->child) {
		event->child->is_open = true;
		out->child_uffd = SIM_UFFD_FIRST + event->child->index;
	}
	if (event->waiter)
		sim_wake(sim, event->waiter);
	return 0;
}

int sim_do_uffd_wait(struct sim *sim, struct sim_uffd *uffd, uint64_t timeout_ns)
{
	uint64_t deadline = timeout_ns == BASE_FOREVER ? BASE_FOREVER :
							 sim->clock_ns + timeout_ns;

	for (;;) {
		if ((uffd && sim_uffd_is_readable(uffd)) || sim->kicked) {
			sim->kicked = false;
			return 0;
		}
		if (sim->clock_ns >= deadline)
			return -ETIMEDOUT;
		if (!sim->current) {
			SIM_MUST(sim->outside);
			if (timeout_ns != BASE_FOREVER) {
				sim->clock_ns = deadline;
				return -ETIMEDOUT;
			}
			sim->outside->sleep(sim->outside->arg, 0);
			continue;
		}
		sim_block(sim, "uffd_wait", 0,
			  deadline == BASE_FOREVER ? deadline : deadline - sim->clock_ns);
	}
}
