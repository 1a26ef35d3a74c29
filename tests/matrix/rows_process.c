/* SPDX-License-Identifier: MIT */
/*
 * DOC: Rows: signals, ways out of a fault, limits of the process
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rows.h"

#define RW (PROT_READ | PROT_WRITE)

/* --- a thread that is in the middle of an access ---------------- */

struct victim {
	struct cell *cell;
	pthread_t self;
	uint32_t is_known; /* atomic */
	uint32_t is_told;  /* atomic: it may end */
};

static volatile sig_atomic_t handled;
static _Thread_local sigjmp_buf way_out;
static _Thread_local volatile sig_atomic_t jumps;

static void on_signal(int number)
{
	(void)number;
	handled++;
	if (jumps) {
		jumps = 0;
		siglongjmp(way_out, 1);
	}
}

static void touch_all(struct cell *c)
{
	for (size_t i = 0; i < c->bytes; i += LIVE_PAGE)
		*(volatile unsigned char *)(c->at + i);
}

static void introduce(struct victim *v)
{
	v->self = pthread_self();
	__atomic_store_n(&v->is_known, 1, __ATOMIC_SEQ_CST);
}

/* It is known, and in a fault where there is one that lasts. */
static struct live_thread *start_victim(struct victim *v, void *(*run)(void *))
{
	struct live_thread *thread = live_thread_start(run, v);

	while (!__atomic_load_n(&v->is_known, __ATOMIC_SEQ_CST))
		sched_yield();
	if (cell_is_held(v->cell))
		live_thread_wait_blocked(thread, -1);
	return thread;
}

static void *touch_until_told(void *arg)
{
	struct victim *v = arg;

	introduce(v);
	do
		touch_all(v->cell);
	while (!__atomic_load_n(&v->is_told, __ATOMIC_SEQ_CST));
	return v;
}

void signal_in_fault(struct cell *c)
{
	struct sigaction action = { .sa_handler = on_signal }, old;
	struct victim v = { .cell = c };
	struct live_thread *thread;

	sigaction(SIGUSR1, &action, &old);
	thread = start_victim(&v, touch_until_told);
	for (int i = 1; i <= 3; i++) {
		cell_note(c, "kill", pthread_kill(v.self, SIGUSR1));
		while (handled < i)
			sched_yield();
	}
	__atomic_store_n(&v.is_told, 1, __ATOMIC_SEQ_CST);
	cell_note(c, "join", live_thread_join(thread) == &v);
	sigaction(SIGUSR1, &old, NULL);
}

static void *touch_and_jump(void *arg)
{
	struct victim *v = arg;

	if (sigsetjmp(way_out, 1) == 0) {
		jumps = 1;
		introduce(v);
		for (;;)
			touch_all(v->cell);
	}
	touch_all(v->cell);
	return v;
}

void jump_out(struct cell *c)
{
	struct sigaction action = { .sa_handler = on_signal }, old;
	struct victim v = { .cell = c };
	struct live_thread *thread;

	sigaction(SIGUSR1, &action, &old);
	thread = start_victim(&v, touch_and_jump);
	cell_note(c, "kill", pthread_kill(v.self, SIGUSR1));
	cell_note(c, "join", live_thread_join(thread) == &v);
	cell_note(c, "handled", handled);
	sigaction(SIGUSR1, &old, NULL);
}

static void *touch_and_be_cancelled(void *arg)
{
	struct victim *v = arg;

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	introduce(v);
	for (;;)
		touch_all(v->cell);
	return NULL;
}

void cancel(struct cell *c)
{
	struct victim v = { .cell = c };
	struct live_thread *thread = start_victim(&v, touch_and_be_cancelled);

	cell_note(c, "cancel", pthread_cancel(v.self));
	cell_note(c, "join", live_thread_join(thread) == PTHREAD_CANCELED);
}

/* --- a handler of its own ---------------- */

static struct cell *handler_cell;

static void give_access(int number, siginfo_t *info, void *context)
{
	struct cell *c = handler_cell;

	(void)number, (void)context;
	cell_note(c, "handler", (unsigned char *)info->si_addr - c->at);
	cell_result(c, "mprotect", mprotect(c->at + c->part, 2 * c->part, RW));
}

void own_handler(struct cell *c)
{
	struct sigaction action = { .sa_sigaction = give_access, .sa_flags = SA_SIGINFO }, old;
	uint64_t *word = (void *)(c->at + c->part + 64);

	handler_cell = c;
	sigaction(SIGSEGV, &action, &old);
	cell_result(c, "mprotect", mprotect(c->at + c->part, 2 * c->part, PROT_NONE));
	__atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);
	sigaction(SIGSEGV, &old, NULL);
}

/* --- a userfaultfd of its own ---------------- */

static int open_uffd(struct cell *c)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		cell_skip(c, "no userfaultfd for the program");
	return fd;
}

static int register_with(int fd, void *at, size_t bytes)
{
	struct uffdio_register r = { .range = { (uintptr_t)at, bytes },
				     .mode = UFFDIO_REGISTER_MODE_MISSING };

	return ioctl(fd, UFFDIO_REGISTER, &r);
}

struct server {
	int fd;
	unsigned int pages;
};

/* Answers faults with pages of seed 5, in the order of their coming. */
static void *serve(void *arg)
{
	struct server *s = arg;
	struct uffd_msg message;

	for (unsigned int i = 0; i < s->pages; i++) {
		struct uffdio_copy copy = { .len = LIVE_PAGE };

		if (read(s->fd, &message, sizeof(message)) != sizeof(message))
			return NULL;
		live_fill(shared->buffer, LIVE_PAGE, 5, i * LIVE_PAGE);
		copy.dst = message.arg.pagefault.address & ~(LIVE_PAGE - 1);
		copy.src = (uintptr_t)shared->buffer;
		if (ioctl(s->fd, UFFDIO_COPY, &copy))
			return NULL;
	}
	return s;
}

void own_uffd_beside(struct cell *c)
{
	struct server server = { open_uffd(c), 4 };
	struct live_thread *thread;
	void *at = mmap(c->to, 4 * LIVE_PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	assert_ptr_equal(at, c->to);
	cell_result(c, "register", register_with(server.fd, c->to, 4 * LIVE_PAGE));
	thread = live_thread_start(serve, &server);
	cell_look(c, "served", c->to, 2 * LIVE_PAGE);
	if (c->live.gpu) /* the GPU's access is served as the CPU's */
		gpu_read64(&c->live, c->to + 2 * LIVE_PAGE);
	cell_look(c, "served", c->to, 4 * LIVE_PAGE);
	cell_note(c, "join", live_thread_join(thread) == &server);
	touch_all(c);
	close(server.fd);
	cell_watch(c, c->to, 4 * LIVE_PAGE);
}

void own_uffd(struct cell *c)
{
	assert_int_equal(register_with(open_uffd(c), c->at, c->bytes), 0);
}

void own_uffd_after(struct cell *c)
{
	int fd = open_uffd(c);

	touch_all(c);
	cell_result(c, "register", register_with(fd, c->at, c->bytes));
	close(fd);
}

/* --- limits ---------------- */

void close_all(struct cell *c)
{
	cell_result(c, "close_range", syscall(SYS_close_range, 3, ~0u, 0));
	touch_all(c);
	cell_result(c, "open", open("/dev/null", O_RDONLY) >= 0);
}

void limit_space(struct cell *c)
{
	struct rlimit old, limit;

	assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
	limit = (struct rlimit){ LIVE_PAGE, old.rlim_max };
	cell_result(c, "setrlimit", setrlimit(RLIMIT_AS, &limit));
	cell_result(c, "mmap", mmap(NULL, LIVE_PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
				       MAP_FAILED);
	cell_look(c, "limited", c->at, c->bytes);
	if (c->live.gpu)
		gpu_fill(&c->live, c->at, LIVE_PAGE, 2, 0);
	else
		live_fill(c->at, LIVE_PAGE, 2, 0);
	cell_look(c, "used", c->at, c->part);
	cell_result(c, "setrlimit", setrlimit(RLIMIT_AS, &old));
}

#define MAPS_MAX 70000ul

/* Every other page has other rights, until the kernel has enough. */
void limit_maps(struct cell *c)
{
	unsigned char *at = mmap(NULL, MAPS_MAX * LIVE_PAGE, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t i = 0;

	assert_ptr_not_equal(at, MAP_FAILED);
	while (i < MAPS_MAX && !mprotect(at + i * LIVE_PAGE, LIVE_PAGE, PROT_READ))
		i += 2;
	cell_note(c, "reached", i < MAPS_MAX);
	cell_result(c, "munmap", munmap(c->at + c->part, c->part));
	cell_result(c, "mprotect", mprotect(c->at + c->part, c->part, PROT_READ));
	cell_look(c, "reached", c->at, c->bytes);
	if (c->live.gpu)
		gpu_fill(&c->live, c->at, LIVE_PAGE, 2, 0);
	else
		live_fill(c->at, LIVE_PAGE, 2, 0);
	cell_result(c, "munmap", munmap(at, MAPS_MAX * LIVE_PAGE));
}

/* --- the process ---------------- */

static void on_alarm(int number)
{
	(void)number;
	shared->words[2]++;
}

void signal_storm(struct cell *c)
{
	struct itimerval often = { { 0, 300 }, { 0, 300 } }, never = { 0 };
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };

	shared->words[2] = 0;
	sigaction(SIGALRM, &action, NULL);
	assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
	do
		touch_all(c);
	while (*(volatile uint32_t *)&shared->words[2] < 3);
	use(c);
	cell_result(c, "madvise", madvise(c->at + c->part, LIVE_PAGE, MADV_DONTNEED));
	cell_look(c, "stormed", c->at, c->bytes);
	assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
	signal(SIGALRM, SIG_IGN); /* another thread may be about to take the last one */
}

/* From here on the process may not look at itself in /proc. */
void give_up_rights(struct cell *c)
{
	cell_result(c, "setuid", setuid(65534));
	use(c);
	cell_result(c, "madvise", madvise(c->at + 2 * c->part, c->part, MADV_DONTNEED));
}

/* From here on there is no /proc. */
void change_root(struct cell *c)
{
	if (chroot("/var/tmp"))
		cell_skip(c, "no chroot()");
	use(c);
	cell_result(c, "madvise", madvise(c->at + 2 * c->part, c->part, MADV_DONTNEED));
}

static void *touch_for_ever(void *arg)
{
	for (;;)
		touch_all(arg);
	return NULL;
}

/* A child takes the memory to a device of its own. */
static void end_with_device(struct cell *c, bool executes)
{
	char *const argv[] = { "sh", "-c", "exit 7", NULL };
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		struct live live = { .param = c->live.param };

		if (!c->native) {
			live_open(&live, live.param, "model:vram=8M");
			live_take(&live, c->at, c->bytes);
		}
		live_thread_start(touch_for_ever, c);
		live_thread_start(touch_for_ever, c);
		if (!c->native)
			live_take(&live, c->at, c->bytes);
		if (executes)
			execv("/bin/sh", argv);
		_exit(7);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	cell_note(c, "child", status);
}

void exec_with_device(struct cell *c)
{
	end_with_device(c, true);
}

void exit_with_device(struct cell *c)
{
	end_with_device(c, false);
}

void stop_continue(struct cell *c)
{
	for (int i = 0; i < 3; i++) {
		cell_note(c, "stop", cell_outside(REQUEST_STOP, NULL, 0, 0));
		cell_look(c, "continued", c->at + (size_t)i * c->part, c->part);
	}
}
