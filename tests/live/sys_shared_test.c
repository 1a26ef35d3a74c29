/* SPDX-License-Identifier: MIT */
/*
 * Memory of the library's that the program is shown: the same bytes for both, and for a
 * fork's child.
 */
#include "sys_live.h"

#include <signal.h>
#include <sys/wait.h>

static struct sys *sys;

static void both_see_the_same_bytes(void **state)
{
	struct span part;
	uint64_t ours, shown, again;

	(void)state;
	assert_int_equal(sys->ops->shared_map(sys, MIB(4), HUGE_BYTES, &ours, NULL), 0);
	assert_true(IS_ALIGNED(ours, HUGE_BYTES));
	part = span_make(ours + KIB(64), KIB(8));
	assert_int_equal(sys->ops->shared_show(sys, part, 0, SYS_PROT_READ | SYS_PROT_WRITE,
					       &shown),
			 0);
	*(volatile uint64_t *)pointer_to(shown + KIB(4)) = 7;
	assert_int_equal(*(volatile uint64_t *)pointer_to(ours + KIB(68)), 7);
	*(volatile uint64_t *)pointer_to(ours + KIB(64)) = 8;
	assert_int_equal(*(volatile uint64_t *)pointer_to(shown), 8);
	assert_int_equal(sys->ops->shared_show(sys, part, 0, SYS_PROT_READ, &again), 0);
	assert_int_equal(*(volatile uint64_t *)pointer_to(again + KIB(4)), 7);

	/* What was shown stays when ours goes. */
	sys->ops->shared_unmap(sys, ours, MIB(4), -1);
	assert_int_equal(msync(pointer_to(ours), MIB(4), MS_ASYNC), -1);
	assert_int_equal(*(volatile uint64_t *)pointer_to(shown + KIB(4)), 7);
	*(volatile uint64_t *)pointer_to(shown + KIB(4)) = 9;
	assert_int_equal(*(volatile uint64_t *)pointer_to(again + KIB(4)), 9);
	munmap(pointer_to(shown), KIB(8));
	munmap(pointer_to(again), KIB(8));
}

static void it_is_shown_where_it_is_wanted(void **state)
{
	unsigned char *place = map_anonymous(KIB(16));
	uint64_t ours, shown;

	(void)state;
	memset(place, 3, KIB(16));
	assert_int_equal(sys->ops->shared_map(sys, KIB(8), PAGE_BYTES, &ours, NULL), 0);
	assert_int_equal(sys->ops->shared_show(sys, span_make(ours, KIB(8)),
					       addr_of(place) + KIB(4),
					       SYS_PROT_READ | SYS_PROT_WRITE, &shown),
			 0);
	assert_int_equal(shown, addr_of(place) + KIB(4));
	assert_int_equal(place[0], 3);
	assert_int_equal(place[KIB(4)], 0);
	assert_int_equal(place[KIB(12)], 3);
	sys->ops->shared_unmap(sys, ours, KIB(8), -1);
	munmap(place, KIB(16));
}

/* Of the library's mapping a child has nothing; what the program was shown it inherits, and
 * it is not a copy. */
static void a_child_sees_what_the_program_was_shown(void **state)
{
	uint64_t ours, shown;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(sys->ops->shared_map(sys, KIB(8), PAGE_BYTES, &ours, NULL), 0);
	assert_int_equal(sys->ops->shared_show(sys, span_make(ours, KIB(8)), 0,
					       SYS_PROT_READ | SYS_PROT_WRITE, &shown),
			 0);
	pid = fork();
	if (!pid) {
		bool gone = msync(pointer_to(ours), KIB(8), MS_ASYNC) == -1;

		*(volatile uint64_t *)pointer_to(shown) = 5;
		_exit(gone ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
	assert_int_equal(*(volatile uint64_t *)pointer_to(ours), 5);
	sys->ops->shared_unmap(sys, ours, KIB(8), -1);
	munmap(pointer_to(shown), KIB(8));
}

/* SIGSEGV: what it may not write. */
static void what_is_shown_to_be_read_cannot_be_written(void **state)
{
	uint64_t ours, shown;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(sys->ops->shared_map(sys, KIB(4), PAGE_BYTES, &ours, NULL), 0);
	assert_int_equal(sys->ops->shared_show(sys, span_make(ours, KIB(4)), 0, SYS_PROT_READ,
					       &shown),
			 0);
	pid = fork();
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile uint64_t *)pointer_to(shown) = 5;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(WIFEXITED(status) && !WEXITSTATUS(status));
	sys->ops->shared_unmap(sys, ours, KIB(4), -1);
	munmap(pointer_to(shown), KIB(4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_see_the_same_bytes),
		cmocka_unit_test(it_is_shown_where_it_is_wanted),
		cmocka_unit_test(a_child_sees_what_the_program_was_shown),
		cmocka_unit_test(what_is_shown_to_be_read_cannot_be_written),
	};
	int failed;

	sys = open_sys(NULL);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	sys_linux_close(sys);
	return failed;
}
