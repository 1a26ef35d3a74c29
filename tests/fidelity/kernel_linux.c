/* SPDX-License-Identifier: MIT */
/*
 * DOC: scripts on the real kernel
 *
 * A process for each script: what it leaves, or hangs on, ends with it. That a thread
 * sleeps in a fault or in a call until its message is read is seen in /proc/TID/wchan,
 * which names the kernel's function, and only of a thread that is off the processor.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/host.h"
#include "kernel.h"
#include "sys/linux_abi.h"

#define PROGRAM_ADDR 0x200000000000ull
#define HANG_SECONDS 20
#define PAUSE_NS 20000

static struct kernel real;
static int pipes[WHO_COUNT][2];
static int rings[WHO_COUNT]; /* of io_uring, each with what its actor pinned; 0: none */
static int memory_fd;
static const struct script *script;
static struct outcome *outcome;

static __thread sigjmp_buf *guard;

/* --- by the actor ---------------------------------------------------------- */

static void begin(struct actor *self)
{
	self->thread_id = (uint32_t)gettid();
	self->number = gettid();
}

static void handle_signal(int number)
{
	if (guard)
		siglongjmp(*guard, number);
	_exit(3);
}

/* As sim_load() and its like. */
static int touch(const struct act *act, uint64_t addr, uint64_t *value)
{
	uint64_t *word = (uint64_t *)(uintptr_t)addr;
	sigjmp_buf here;
	int number = sigsetjmp(here, 1);

	if (number) {
		guard = NULL;
		return number == SIGBUS ? -EBUSY : -EFAULT;
	}
	guard = &here;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (act->type == ACT_LOAD)
		*value = ATOMIC_LOAD(word);
	else if (act->type == ACT_STORE)
		ATOMIC_STORE(word, act->value);
	else
		*value = ATOMIC_ADD(word, act->value);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	guard = NULL;
	return 0;
}

/* By a system call: what it reads or writes goes through a pipe of the actor. */
static int transfer(const struct actor *self, const struct act *act, uint64_t addr,
		    uint64_t *value)
{
	void *word = (void *)(uintptr_t)addr;
	const int *ends = pipes[self->who];
	uint64_t spoilt;

	if (act->type == ACT_COPY_IN) {
		if (write(ends[1], word, sizeof(*value)) != sizeof(*value))
			return -errno;
		return read(ends[0], value, sizeof(*value)) > 0 ? 0 : -EIO;
	}
	if (write(ends[1], &act->value, sizeof(act->value)) < 0)
		return -errno;
	if (read(ends[0], word, sizeof(act->value)) == sizeof(act->value))
		return 0;
	if (read(ends[0], &spoilt, sizeof(spoilt)) < 0) /* empty again */
		return -EIO;
	return -EFAULT;
}

static int result_of(long got)
{
	return got < 0 ? -errno : 0;
}

static int do_mmap(const struct act *act, struct span span)
{
	int flags = MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;

	flags |= act->flags & MAP_IS_SHARED ? MAP_SHARED : MAP_PRIVATE;
	if (act->flags & MAP_KEEPS)
		flags = (flags & ~MAP_FIXED) | MAP_FIXED_NOREPLACE;
	return result_of(syscall(SYS_mmap, span.start, span_bytes(span), act->flags & 7, flags,
				 -1, 0));
}

static int do_mremap(const struct act *act, struct span span, uint64_t *value)
{
	long got = syscall(SYS_mremap, span.start, span_bytes(span),
			   (uint64_t)act->d.count * PAGE_BYTES, act->flags,
			   place_addr(&real, act->d));

	if (got == -1)
		return -errno;
	*value = (uint64_t)got;
	return 0;
}

static int do_madvise(const struct act *act, struct span span)
{
	/* In the order of enum sim_advice. */
	static const int advices[] = {
		MADV_DONTNEED, MADV_FREE, MADV_REMOVE, MADV_HUGEPAGE, MADV_NOHUGEPAGE,
		ABI_MADV_COLLAPSE, ABI_MADV_POPULATE_READ, ABI_MADV_POPULATE_WRITE,
		ABI_MADV_GUARD_INSTALL, ABI_MADV_GUARD_REMOVE, MADV_DONTFORK, MADV_DOFORK,
		MADV_WIPEONFORK, MADV_KEEPONFORK, MADV_DONTDUMP,
	};

	return result_of(syscall(SYS_madvise, span.start, span_bytes(span),
				 advices[act->flags]));
}

static int do_pin(const struct actor *self, struct span span)
{
	struct io_uring_params params = { 0 };
	struct iovec part = { (void *)(uintptr_t)span.start, span_bytes(span) };
	int *ring = &rings[self->who];
	int err;

	if (*ring)
		return -EBUSY;
	*ring = (int)syscall(SYS_io_uring_setup, 1, &params);
	if (*ring < 0)
		err = -errno;
	else
		err = result_of(syscall(SYS_io_uring_register, *ring,
					IORING_REGISTER_BUFFERS, &part, 1));
	if (err && *ring >= 0)
		close(*ring);
	if (err)
		*ring = 0;
	return err;
}

static int do_unpin(const struct actor *self)
{
	int *ring = &rings[self->who];
	int err;

	if (!*ring)
		return -EINVAL;
	err = result_of(syscall(SYS_io_uring_register, *ring, IORING_UNREGISTER_BUFFERS, NULL,
				0));
	close(*ring);
	*ring = 0;
	return err;
}

bool linux_can_pin(void)
{
	struct io_uring_params params = { 0 };
	int ring = (int)syscall(SYS_io_uring_setup, 1, &params);

	if (ring >= 0)
		close(ring);
	return ring >= 0;
}

/* clone() alone: the C library's fork() waits for its own locks. */
static int do_fork(struct actor *self, struct actor *child)
{
	long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		actor_run(child);
	}
	child->object = self;
	return 0;
}

static int call(struct actor *self, const struct act *act, uint64_t *value)
{
	struct span span = place_span(&real, act->s);

	switch (act->type) {
	case ACT_MMAP:
		return do_mmap(act, span);
	case ACT_MUNMAP:
		return result_of(syscall(SYS_munmap, span.start, span_bytes(span)));
	case ACT_MREMAP:
		return do_mremap(act, span, value);
	case ACT_MADVISE:
		return do_madvise(act, span);
	case ACT_MPROTECT:
		return result_of(syscall(SYS_mprotect, span.start, span_bytes(span),
					 act->flags));
	case ACT_MLOCK:
		return result_of(syscall(SYS_mlock, span.start, span_bytes(span)));
	case ACT_MUNLOCK:
		return result_of(syscall(SYS_munlock, span.start, span_bytes(span)));
	case ACT_LOAD:
	case ACT_STORE:
	case ACT_ADD:
		return touch(act, span.start, value);
	case ACT_COPY_IN:
	case ACT_COPY_OUT:
		return transfer(self, act, span.start, value);
	case ACT_PIN:
		return do_pin(self, span);
	case ACT_UNPIN:
		return do_unpin(self);
	case ACT_FORK:
		return do_fork(self, &real.actors[act->value]);
	default: /* ACT_EXIT */
		syscall(SYS_exit_group, 0);
		return 0;
	}
}

static void park(uint32_t *word, uint32_t expected)
{
	syscall(SYS_futex, word, FUTEX_WAIT, expected, NULL, NULL, 0); /* not private */
}

/* --- by the conductor ------------------------------------------------------ */

static void unpark(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void read_wchan(int64_t thread, char *text, size_t bytes)
{
	char path[48];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/%lld/wchan", (long long)thread);
	fd = open(path, O_RDONLY);
	got = fd < 0 ? 0 : read(fd, text, bytes - 1);
	if (fd >= 0)
		close(fd);
	text[got > 0 ? got : 0] = '\0';
}

static const char *sleeps(const struct actor *actor)
{
	char text[64];

	read_wchan(actor->number, text, sizeof(text));
	if (!strcmp(text, "handle_userfault"))
		return "a fault";
	return strstr(text, "userfault") ? "a call, for its message" : NULL;
}

static bool is_parked(const struct actor *actor)
{
	char text[64];

	read_wchan(actor->number, text, sizeof(text));
	if (strncmp(text, "futex", 5))
		return false;
	read_wchan(getpid(), text, sizeof(text)); /* it joins the monitor */
	return !strncmp(text, "futex", 5);
}

static bool is_gone(const struct actor *actor)
{
	return waitpid((pid_t)actor->number, NULL, WNOHANG | __WALL) == actor->number;
}

/* The word has another value: this is the clock's wait, on nobody. */
static void pause_for_others(void)
{
	static uint32_t nobody;
	struct timespec time = { .tv_nsec = PAUSE_NS };

	syscall(SYS_futex, &nobody, FUTEX_WAIT, 0, &time, NULL, 0);
}

static bool peek(uint64_t addr, uint64_t *word)
{
	return pread(memory_fd, word, sizeof(*word), (off_t)addr) == sizeof(*word);
}

static void end_children(void)
{
	for (unsigned int who = WHO_CHILD; who < WHO_COUNT; who++) {
		struct actor *child = &real.actors[who];

		if (!ATOMIC_LOAD(&child->ready) || child->is_gone)
			continue;
		kill((pid_t)child->number, SIGKILL);
		waitpid((pid_t)child->number, NULL, __WALL);
	}
}

static void monitor_run(void *arg)
{
	(void)arg;
	memory_fd = open("/proc/self/mem", O_RDONLY);
	conduct(script, outcome);
	end_children();
	syscall(SYS_exit_group, 0);
}

/* "-wp_async,-move" */
static void mask_of(uint32_t without, char *mask, size_t bytes)
{
	size_t length = 0;

	mask[0] = '\0';
	for (uint32_t bit = 1; sys_feature_name(bit); bit <<= 1)
		if (without & bit)
			length += (size_t)snprintf(mask + length, bytes - length, "%s-%s",
						   length ? "," : "", sys_feature_name(bit));
}

static void *thread_run(void *actor)
{
	actor_run(actor);
	return NULL;
}

static NORETURN void run_in_child(void)
{
	const struct sigaction action = { .sa_handler = handle_signal, .sa_flags = SA_ONSTACK };
	struct sys_thread_attr attr = {
		.name = "monitor",
		.run = monitor_run,
		.flags = SYS_THREAD_OWN_FILES | SYS_THREAD_MONITOR,
	};
	struct sys_thread *thread;
	pthread_t program;
	char mask[256];

	alarm(HANG_SECONDS);
	base_host_install(NULL);
	mask_of(script->without, mask, sizeof(mask));
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	real.actors = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (real.actors == MAP_FAILED || sys_linux_open(mask, &real.sys))
		_exit(4);
	outcome->features = real.sys->features;
	if (!sys_has(real.sys, SYS_FEATURE_UFFD))
		_exit(77);
	conduct_on(&real);
	for (unsigned int who = 0; who < WHO_COUNT; who++) {
		if (pipe(pipes[who]))
			_exit(4);
		if (who >= WHO_THREAD && who < WHO_CHILD &&
		    pthread_create(&program, NULL, thread_run, &real.actors[who]))
			_exit(4);
	}
	if (real.sys->ops->thread_create(real.sys, &attr, &thread))
		_exit(4);
	real.sys->ops->thread_join(real.sys, thread);
	_exit(5);
}

const char *linux_run(const struct script *what, struct outcome *into)
{
	static char text[128];
	int status = 0;
	pid_t pid;

	_Static_assert(WHO_COUNT * sizeof(struct actor) <= PAGE_BYTES, "one page");
	script = what;
	outcome = into;
	real = (struct kernel){
		.program = PROGRAM_ADDR,
		.begin = begin,
		.call = call,
		.park = park,
		.unpark = unpark,
		.sleeps = sleeps,
		.is_parked = is_parked,
		.is_gone = is_gone,
		.pause = pause_for_others,
		.peek = peek,
	};
	pid = fork();
	if (pid == 0)
		run_in_child();
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return "fork() or waitpid() failed";
	if (!status)
		return NULL;
	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "it died of %s%s", strsignal(WTERMSIG(status)),
			 WTERMSIG(status) == SIGALRM ? ": it hung" : "");
	else
		snprintf(text, sizeof(text), "it ended with %d", WEXITSTATUS(status));
	return text;
}
