/* SPDX-License-Identifier: MIT */
/*
 * DOC: the userfaultfd
 *
 * One ioctl each, and one message a read(). The calls that move data tell how
 * far they came in a field of their argument: bytes, or a negative errno that
 * repeats the call's own. Callers get a count that is never negative, and an
 * answer of 0 only if everything was done.
 *
 * uffd_wait() sleeps on the userfaultfd and on an eventfd in the same private
 * file table. A kick is a write to the latter, so it lasts until some
 * uffd_wait() has seen it. Only threads of that table can kick. A program's
 * thread has another table and must post to one of them: a descriptor of ours
 * in the program's table is one that the program can close, and a signal would
 * have to be one that the program does not use.
 *
 * For a time it sleeps on a timer besides, which is left as it is when something
 * else ends the wait: mostly the next wait is for the same time, and to set a timer
 * for each costs a microsecond or two on a virtual machine.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>

#include "base/assert.h"
#include "sys/linux_abi.h"
#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

/* A wait may be longer than it was asked for, by so much. */
#define ALARM_SLACK_NS 100000

_Static_assert(SYS_MOVE_DONTWAKE == (int)ABI_UFFD_MOVE_DONTWAKE, "same bits");
_Static_assert(SYS_MOVE_ALLOW_SRC_HOLES == (int)ABI_UFFD_MOVE_ALLOW_SRC_HOLES,
	       "same bits");

int linux_uffd_open(struct sys *sys, int *uffd)
{
	if (!sys_has(sys, SYS_FEATURE_UFFD))
		return -EOPNOTSUPP;
	return linux_uffd_open_with(sys->features, uffd);
}

void linux_uffd_close(struct sys *sys UNUSED, int uffd)
{
	linux_close(uffd);
}

/* The kernel says EINVAL for an address space that is empty there, too. */
static bool is_empty(struct sys *sys, struct span span)
{
	struct sys_vma vma;
	int err = linux_vma_query(sys, span.start, true, &vma);

	return err == -ENOENT || (!err && vma.span.start >= span.end);
}

int linux_uffd_register(struct sys *sys, int uffd, struct span span,
			uint32_t mode)
{
	struct uffdio_register arg = {
		.range = { .start = span.start, .len = span_bytes(span) },
	};
	int err;

	if (mode & SYS_REGISTER_WP)
		arg.mode |= UFFDIO_REGISTER_MODE_WP;
	if (mode & SYS_REGISTER_MISSING)
		arg.mode |= UFFDIO_REGISTER_MODE_MISSING;
	err = (int)linux_call(SYS_ioctl, uffd, UFFDIO_REGISTER, &arg);
	if (err == -EINVAL && is_empty(sys, span))
		return -ENOENT;
	return err;
}

int linux_uffd_unregister(struct sys *sys UNUSED, int uffd, struct span span)
{
	struct uffdio_range arg = {
		.start = span.start,
		.len = span_bytes(span),
	};

	return (int)linux_call(SYS_ioctl, uffd, UFFDIO_UNREGISTER, &arg);
}

/* @result is what the kernel left in the argument; it was 0 before the call. */
static int progress(int err, int64_t result, uint64_t bytes, uint64_t *done)
{
	*done = result > 0 ? (uint64_t)result : 0;
	if (err == 0 && *done < bytes)
		return -EAGAIN;
	return err;
}

int linux_uffd_move(struct sys *sys, int uffd, uint64_t dst, uint64_t src,
		    uint64_t bytes, uint32_t flags, uint64_t *moved)
{
	struct abi_uffd_move arg = {
		.dst = dst,
		.src = src,
		.bytes = bytes,
		.mode = flags,
	};
	int err;

	*moved = 0;
	if (!sys_has(sys, SYS_FEATURE_MOVE))
		return -EOPNOTSUPP;
	err = (int)linux_call(SYS_ioctl, uffd, ABI_UFFD_IOCTL_MOVE, &arg);
	return progress(err, arg.moved, bytes, moved);
}

int linux_uffd_copy(struct sys *sys UNUSED, int uffd, uint64_t dst,
		    uint64_t src, uint64_t bytes, uint64_t *copied)
{
	struct uffdio_copy arg = { .dst = dst, .src = src, .len = bytes };
	int err = (int)linux_call(SYS_ioctl, uffd, UFFDIO_COPY, &arg);

	return progress(err, arg.copy, bytes, copied);
}

int linux_uffd_zeropage(struct sys *sys UNUSED, int uffd, struct span span,
			uint64_t *done)
{
	struct uffdio_zeropage arg = {
		.range = { .start = span.start, .len = span_bytes(span) },
	};
	int err = (int)linux_call(SYS_ioctl, uffd, UFFDIO_ZEROPAGE, &arg);

	return progress(err, arg.zeropage, span_bytes(span), done);
}

int linux_uffd_wake(struct sys *sys UNUSED, int uffd, struct span span)
{
	struct uffdio_range arg = {
		.start = span.start,
		.len = span_bytes(span),
	};

	return (int)linux_call(SYS_ioctl, uffd, UFFDIO_WAKE, &arg);
}

int linux_uffd_poison(struct sys *sys, int uffd, struct span span)
{
	struct abi_uffd_poison arg = {
		.start = span.start,
		.bytes = span_bytes(span),
	};

	if (!sys_has(sys, SYS_FEATURE_POISON))
		return -EOPNOTSUPP;
	return (int)linux_call(SYS_ioctl, uffd, ABI_UFFD_IOCTL_POISON, &arg);
}

int linux_uffd_writeprotect(struct sys *sys UNUSED, int uffd, struct span span,
			    bool on)
{
	struct uffdio_writeprotect arg = {
		.range = { .start = span.start, .len = span_bytes(span) },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP :
			     UFFDIO_WRITEPROTECT_MODE_DONTWAKE,
	};

	return (int)linux_call(SYS_ioctl, uffd, UFFDIO_WRITEPROTECT, &arg);
}

static int decode(const struct uffd_msg *message, struct sys_event *event)
{
	event->child_uffd = -1;
	switch (message->event) {
	case UFFD_EVENT_PAGEFAULT:
		event->type = SYS_EVENT_FAULT;
		event->addr = ALIGN_DOWN(message->arg.pagefault.address,
					 PAGE_BYTES);
		event->thread_id = message->arg.pagefault.feat.ptid;
		if (message->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE)
			event->fault_flags |= SYS_FAULT_WRITE;
		if (message->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP)
			event->fault_flags |= SYS_FAULT_WP;
		return 0;
	case UFFD_EVENT_FORK:
		event->type = SYS_EVENT_FORK;
		event->child_uffd = (int)message->arg.fork.ufd;
		return 0;
	case UFFD_EVENT_REMAP:
		event->type = SYS_EVENT_REMAP;
		event->span = span_make(message->arg.remap.from,
					message->arg.remap.len);
		event->to = message->arg.remap.to;
		return 0;
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		event->type = message->event == UFFD_EVENT_REMOVE ?
				      SYS_EVENT_REMOVE :
				      SYS_EVENT_UNMAP;
		event->span.start = message->arg.remove.start;
		event->span.end = message->arg.remove.end;
		return 0;
	default:
		/* We enable what we know; the kernel sends nothing else. */
		return -EPROTO;
	}
}

int linux_uffd_salvage(struct sys *sys, struct sys_event *event)
{
	struct uffd_msg message;
	int err;

	memcpy(&message, event->message, sizeof(message));
	if (!message.event)
		return -EAGAIN;
	err = decode(&message, event);
	if (!sys_has(sys, SYS_FEATURE_THREAD_ID))
		event->thread_id = 0;
	return err;
}

int linux_uffd_read(struct sys *sys, int uffd, struct sys_event *event)
{
	int64_t got;

	_Static_assert(sizeof(event->message) == sizeof(struct uffd_msg), "its layout");
	*event = (struct sys_event){ .child_uffd = -1 };
	got = linux_call(SYS_read, uffd, event->message, sizeof(event->message));
	if (got < 0)
		return (int)got;
	ASSERT(got == (int64_t)sizeof(event->message));
	return linux_uffd_salvage(sys, event);
}

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){
		.tv_sec = (int64_t)(ns / 1000000000u),
		.tv_nsec = (int64_t)(ns % 1000000000u),
	};
}

/* See to it that the alarm wakes at @due_ns, or before. Return: false: there is none. */
static bool alarm_set(uint64_t due_ns)
{
	struct itimerspec time = { .it_value = timespec_of(due_ns) };
	struct linux_tls *tls = &linux_tls;

	if (tls->files.alarm < 0)
		return false;
	if (tls->alarm_ns && tls->alarm_ns <= due_ns + ALARM_SLACK_NS)
		return true;
	if (linux_call(SYS_timerfd_settime, tls->files.alarm, TFD_TIMER_ABSTIME, &time, NULL))
		return false;
	tls->alarm_ns = due_ns;
	return true;
}

static void drain(int fd)
{
	uint64_t count;

	linux_call(SYS_read, fd, &count, sizeof(count));
}

int linux_uffd_wait(struct sys *sys, int uffd, uint64_t timeout_ns)
{
	struct pollfd fds[] = {
		{ .fd = uffd, .events = POLLIN },
		{ .fd = linux_tls.files.kick, .events = POLLIN },
		{ .fd = linux_tls.files.alarm, .events = POLLIN },
	};
	uint64_t now_ns = linux_clock_ns(sys);
	uint64_t due_ns = timeout_ns < BASE_FOREVER - now_ns ? now_ns + timeout_ns :
							      BASE_FOREVER;

	for (;; now_ns = linux_clock_ns(sys)) {
		struct timespec left = timespec_of(due_ns - MIN(now_ns, due_ns));
		bool forever = due_ns == BASE_FOREVER;
		bool alarm = !forever && now_ns < due_ns && alarm_set(due_ns);
		int64_t got = linux_call(SYS_ppoll, fds, alarm ? 3 : 2,
					 forever || alarm ? NULL : &left, NULL, 0);

		if (got == -EINTR)
			continue;
		if (got < 0)
			return (int)got;
		if (got == 0)
			return -ETIMEDOUT;
		if (fds[1].revents)
			drain(linux_tls.files.kick);
		if (fds[0].revents || fds[1].revents)
			return 0;
		/* Perhaps one of before, and too early. */
		drain(linux_tls.files.alarm);
		linux_tls.alarm_ns = 0;
	}
}

void linux_uffd_kick(struct sys *sys UNUSED)
{
	uint64_t one = 1;

	ASSERT(linux_tls.private_files);
	linux_call(SYS_write, linux_tls.files.kick, &one, sizeof(one));
}
