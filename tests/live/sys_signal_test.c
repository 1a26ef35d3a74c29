/* SPDX-License-Identifier: MIT */
/*
 * The program's handlers for SIGSEGV and SIGBUS get what is theirs, whenever
 * they were installed and whatever they do.
 */
#include "coverage.h"
#include "sys_live.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>

static struct sys *sys;

static void *forbidden; /* a page without access */
static volatile uint32_t first_calls; /* handlers count behind the compiler */
static volatile uint32_t second_calls;
static struct sigaction before_second;
static sigjmp_buf jump;

/* Allow the access, so that it succeeds when it is repeated. */
static void allow(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	(void)context;
	first_calls++;
	mprotect(forbidden, PAGE_BYTES, PROT_READ | PROT_WRITE);
}

static void jump_away(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	(void)context;
	second_calls++;
	siglongjmp(jump, 1);
}

static void pass_on(int number, siginfo_t *info, void *context)
{
	second_calls++;
	before_second.sa_sigaction(number, info, context);
}

static void install(void (*handler)(int, siginfo_t *, void *), int flags,
		    struct sigaction *before)
{
	struct sigaction action = { .sa_sigaction = handler,
				    .sa_flags = SA_SIGINFO | flags };

	assert_int_equal(sigaction(SIGSEGV, &action, before), 0);
}

static void install_plain(void (*handler)(int))
{
	assert_true(signal(SIGSEGV, handler) != SIG_ERR);
}

static int set_up(void **state)
{
	(void)state;
	forbidden = map_anonymous(PAGE_BYTES);
	return mprotect(forbidden, PAGE_BYTES, PROT_NONE);
}

static int tear_down(void **state)
{
	(void)state;
	return munmap(forbidden, PAGE_BYTES);
}

static void begin(void)
{
	first_calls = 0;
	second_calls = 0;
	mprotect(forbidden, PAGE_BYTES, PROT_NONE);
}

static void touch(void)
{
	*(volatile char *)forbidden = 1;
}

static int guarded_touch(void)
{
	uint64_t word = 0;

	mprotect(forbidden, PAGE_BYTES, PROT_NONE);
	return sys->ops->access(sys, SYS_ACCESS_WRITE, addr_of(forbidden), &word,
				8);
}

static void a_handler_from_before_gets_its_faults(void **state)
{
	(void)state;
	begin();
	install(allow, 0, NULL);
	sys = open_sys("");
	touch();
	assert_int_equal(first_calls, 1);
	assert_int_equal(guarded_touch(), -EFAULT);
	assert_int_equal(first_calls, 1);
	sys_linux_close(sys);
}

static void a_handler_from_after_gets_its_faults(void **state)
{
	(void)state;
	begin();
	sys = open_sys("");
	install(allow, 0, NULL);
	touch();
	assert_int_equal(first_calls, 1);

	assert_int_equal(sys->ops->check_signal_handlers(sys), 0);
	assert_int_equal(guarded_touch(), -EFAULT);
	assert_int_equal(first_calls, 1);
	touch();
	assert_int_equal(first_calls, 2);
	sys_linux_close(sys);
}

static void a_handler_that_passes_on_reaches_the_one_before_it(void **state)
{
	(void)state;
	begin();
	install(allow, 0, NULL);
	sys = open_sys("");
	install(pass_on, 0, &before_second);
	assert_int_equal(sys->ops->check_signal_handlers(sys), 0);

	/* ours -> pass_on -> ours -> allow */
	touch();
	assert_int_equal(second_calls, 1);
	assert_int_equal(first_calls, 1);
	assert_int_equal(guarded_touch(), -EFAULT);
	assert_int_equal(second_calls, 1);

	/* The program takes its handler back: ours and allow are left. */
	assert_int_equal(sigaction(SIGSEGV, &before_second, NULL), 0);
	touch();
	assert_int_equal(second_calls, 1);
	assert_int_equal(first_calls, 2);
	sys_linux_close(sys);
}

/* Before anyone has looked, the program's is in front and calls ours. */
static void a_handler_in_front_that_passes_on_works_too(void **state)
{
	(void)state;
	begin();
	install(allow, 0, NULL);
	sys = open_sys("");
	install(pass_on, 0, &before_second);
	touch();
	assert_int_equal(second_calls, 1);
	assert_int_equal(first_calls, 1);
	assert_int_equal(guarded_touch(), -EFAULT);
	assert_int_equal(second_calls, 2);
	sys_linux_close(sys);
}

static void a_handler_may_jump_away_as_often_as_it_likes(void **state)
{
	sigset_t now;

	(void)state;
	begin();
	install(allow, 0, NULL);
	sys = open_sys("");
	install(jump_away, 0, NULL);
	assert_int_equal(sys->ops->check_signal_handlers(sys), 0);
	for (uint32_t i = 1; i <= 5; i++) {
		if (!sigsetjmp(jump, 1))
			touch();
		assert_int_equal(second_calls, i);
	}
	assert_int_equal(first_calls, 0);
	assert_int_equal(sigprocmask(SIG_SETMASK, NULL, &now), 0);
	assert_false(sigismember(&now, SIGSEGV));
	assert_int_equal(guarded_touch(), -EFAULT);
	sys_linux_close(sys);
}

static void a_handler_put_back_again_and_again_is_kept_once(void **state)
{
	(void)state;
	begin();
	install(allow, 0, NULL);
	sys = open_sys("");
	for (int i = 0; i < 100; i++) {
		install(i % 2 ? jump_away : pass_on, 0, NULL);
		assert_int_equal(sys->ops->check_signal_handlers(sys), 0);
		assert_int_equal(guarded_touch(), -EFAULT);
	}
	if (!sigsetjmp(jump, 1))
		touch();
	assert_int_equal(second_calls, 1);
	sys_linux_close(sys);
}

/* --- as the kernel would have called it ---------------------------------- */

static sigset_t seen_mask;

static void look_at_mask(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	assert_ptr_equal(info->si_addr, forbidden);
	sigprocmask(SIG_SETMASK, NULL, &seen_mask);
	allow(number, info, context);
}

static void a_handler_runs_with_its_own_mask(void **state)
{
	struct sigaction action = { .sa_sigaction = look_at_mask,
				    .sa_flags = SA_SIGINFO };
	sigset_t after;

	(void)state;
	begin();
	sigaddset(&action.sa_mask, SIGUSR2);
	assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
	sys = open_sys("");
	touch();
	assert_true(sigismember(&seen_mask, SIGUSR2));
	assert_true(sigismember(&seen_mask, SIGSEGV));
	sigprocmask(SIG_SETMASK, NULL, &after);
	assert_false(sigismember(&after, SIGUSR2));
	sys_linux_close(sys);

	begin();
	action.sa_flags |= SA_NODEFER;
	assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
	sys = open_sys("");
	touch();
	assert_false(sigismember(&seen_mask, SIGSEGV));
	sys_linux_close(sys);
}

/* Run @body in a child. Return: the signal that ended it, or 0. */
static int ending_of(void (*body)(void))
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		body();
		coverage_keep();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void fault_by_default(void)
{
	install_plain(SIG_DFL);
	sys = open_sys("");
	touch();
}

static void raise_by_default(void)
{
	install_plain(SIG_DFL);
	sys = open_sys("");
	raise(SIGSEGV);
}

static void raise_ignored(void)
{
	install_plain(SIG_IGN);
	sys = open_sys("");
	raise(SIGSEGV);
	raise(SIGSEGV);
}

static void fault_ignored(void)
{
	install_plain(SIG_IGN);
	sys = open_sys("");
	touch();
}

static void bus_by_default(void)
{
	int fd = memfd_create("usvm", 0);
	volatile char *p;

	signal(SIGBUS, SIG_DFL);
	sys = open_sys("");
	p = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	(void)p[0];
}

static void fault_twice_reset(void)
{
	install(allow, SA_RESETHAND, NULL);
	sys = open_sys("");
	touch();
	if (first_calls != 1)
		_exit(1);
	mprotect(forbidden, PAGE_BYTES, PROT_NONE);
	touch();
}

/* The last handler passes on to ours when there is nothing behind. */
static void fault_passed_on_to_nobody(void)
{
	install_plain(SIG_DFL);
	sys = open_sys("");
	install(pass_on, 0, &before_second);
	if (sys->ops->check_signal_handlers(sys))
		_exit(1);
	touch();
}

static void what_nobody_wants_ends_as_it_always_did(void **state)
{
	(void)state;
	begin();
	assert_int_equal(ending_of(fault_by_default), SIGSEGV);
	assert_int_equal(ending_of(raise_by_default), SIGSEGV);
	assert_int_equal(ending_of(raise_ignored), 0);
	assert_int_equal(ending_of(fault_ignored), SIGSEGV);
	assert_int_equal(ending_of(bus_by_default), SIGBUS);
	assert_int_equal(ending_of(fault_twice_reset), SIGSEGV);
	assert_int_equal(ending_of(fault_passed_on_to_nobody), SIGSEGV);
}

/* --- closing ---------------- */

static void the_last_close_puts_the_handler_back(void **state)
{
	struct sigaction now;

	(void)state;
	install(allow, 0, NULL);
	sys = open_sys("");
	sys = open_sys("");
	sys_linux_close(sys);
	assert_int_equal(sigaction(SIGSEGV, NULL, &now), 0);
	assert_ptr_not_equal(now.sa_sigaction, allow);
	sys_linux_close(sys);
	assert_int_equal(sigaction(SIGSEGV, NULL, &now), 0);
	assert_ptr_equal(now.sa_sigaction, allow);
}

static void a_close_leaves_a_handler_in_front_alone(void **state)
{
	struct sigaction now;

	(void)state;
	begin();
	install(allow, 0, NULL);
	sys = open_sys("");
	install(pass_on, 0, &before_second);
	sys_linux_close(sys);
	assert_int_equal(sigaction(SIGSEGV, NULL, &now), 0);
	assert_ptr_equal(now.sa_sigaction, pass_on);

	/* It still passes on to ours, and ours to who was before. */
	touch();
	assert_int_equal(second_calls, 1);
	assert_int_equal(first_calls, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_handler_from_before_gets_its_faults),
		TEST(a_handler_from_after_gets_its_faults),
		TEST(a_handler_that_passes_on_reaches_the_one_before_it),
		TEST(a_handler_in_front_that_passes_on_works_too),
		TEST(a_handler_may_jump_away_as_often_as_it_likes),
		TEST(a_handler_put_back_again_and_again_is_kept_once),
		TEST(a_handler_runs_with_its_own_mask),
		TEST(what_nobody_wants_ends_as_it_always_did),
		TEST(the_last_close_puts_the_handler_back),
		TEST(a_close_leaves_a_handler_in_front_alone),
	};

#if defined(__SANITIZE_THREAD__)
	printf("SKIP: ThreadSanitizer keeps the program's handlers itself\n");
	return 77;
#endif
	return cmocka_run_group_tests(tests, NULL, NULL);
}
