/* SPDX-License-Identifier: MIT */
/*
 * The keeper: what it finds when the monitor is killed, at whatever place, while it pushes
 * pages into a child. Killed is who stops in a call of the kernel's, for good.
 */
#include "clone.h"

#include <sys/wait.h>
#include <unistd.h>

#include "coverage.h"

enum { NOT_KILLED = 3 }; /* exit status */

static jmp_buf killed;

/* test: [4] calls of the kernel left to the monitor; the others as for at_copy() */
static void killed_at_call(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (f->test[0])
		at_copy(arg, op);
	if (!--f->test[4])
		longjmp(killed, 1);
}

/* Of a child that forked off for a test. */
static _Noreturn void end_test(int status)
{
	coverage_keep();
	_exit(status);
}

static void keeper_runs(struct fixture *f)
{
	f->fake->op_hook = NULL;
	fake_become(FAKE_MONITOR);
	mm_last_will(f->mm);
	fake_become(FAKE_WORKER);
}

/* In a process of its own: an mm whose monitor is gone is nothing to go on with. */
static _Noreturn void be_killed_at(struct fixture *f, uint64_t call, uint64_t point,
				   enum child_act act)
{
	int child;

	take_first(f, 8);
	child = fake_fork(f->fake, false);
	f->test[0] = point + 1;
	f->test[1] = (uint64_t)child;
	f->test[3] = act;
	f->test[4] = call;
	f->fake->op_hook = killed_at_call;
	if (!setjmp(killed)) {
		settle(f);
		end_test(NOT_KILLED);
	}
	keeper_runs(f);
	/* Else the kernel has told nobody, and undoes the clone. */
	if (f->mm->stats.events_fork && act != CHILD_DIES)
		expect_child(f, child, f->test[0] ? CHILD_ACTS : act);
	end_test(0);
}

static void the_keeper_pushes_the_rest_wherever_the_monitor_is_killed(void **state)
{
	int status;

	for (enum child_act act = 0; act <= CHILD_ACTS; act++) {
		for (uint64_t call = 1, point = 0; point < 8; call++) {
			pid_t pid = fork();

			assert_true(pid >= 0);
			if (pid == 0)
				be_killed_at(*state, call, point, act);
			assert_int_equal(waitpid(pid, &status, 0), pid);
			assert_true(WIFEXITED(status));
			if (WEXITSTATUS(status) == NOT_KILLED) {
				call = 0;
				point += 5;
				continue;
			}
			if (WEXITSTATUS(status))
				fail_msg("act %d at page %lu, killed at call %lu", act, point,
					 call);
		}
	}
}

/* Return: the caller is the test, and the process @pid ended well. */
static bool is_test(pid_t pid)
{
	int status;

	assert_true(pid >= 0);
	if (pid) {
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	return pid;
}

/* A message was read, which let go whoever it is about, and nothing more. */
static void a_message_in_the_hand_of_who_is_killed_counts(void **state)
{
	struct fixture *f = *state;
	struct sys_event event;
	int child, uffd;

	if (is_test(fork()))
		return;
	take_first(f, 8);
	child = fake_fork(f->fake, false);
	fake_become(FAKE_MONITOR);
	mm_lock(f->mm);
	assert_int_equal(mm_event_read(f->mm, f->mm->uffd, &event), 0);
	uffd = event.child_uffd;
	f->fake->op_hook = killed_at_call;
	f->test[4] = 4;
	if (!setjmp(killed))
		mm_last_will(f->mm);
	f->fake->op_hook = NULL;
	assert_int_equal(f->mm->push_count, 1);
	/* And once more, in the hand of the first keeper. */
	child_acts(f, child, CHILD_UNMAPS);
	assert_int_equal(mm_event_read(f->mm, uffd, &event), 0);
	assert_int_equal(event.type, SYS_EVENT_UNMAP);
	fake_caller_ran(f->fake);
	keeper_runs(f);
	expect_child(f, child, CHILD_UNMAPS);
	end_test(0);
}

static void look_and_end_child(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (strcmp(op, "uffd_wait") != 0)
		return;
	fake_enter(f->fake, (int)f->test[1]);
	assert_int_equal(fake_touch(f->fake, heap(3), false), -EAGAIN);
	fake_enter(f->fake, 0);
	fake_exit(f->fake, (int)f->test[1]);
	f->fake->op_hook = NULL;
	f->test[2] = 1;
}

/* One that lacks what nobody can tell waits as before, and the keeper as long as it lives. */
static void the_keeper_stays_with_a_child_that_waits(void **state)
{
	struct fixture *f = *state;

	if (is_test(fork()))
		return;
	take_first(f, 4);
	f->test[0] = 4200;
	f->test[1] = (uint64_t)fake_fork(f->fake, false);
	f->fake->op_hook = change_at_read;
	settle(f);
	assert_int_equal(f->mm->stuck_count, 1);
	f->fake->op_hook = look_and_end_child;
	f->test[2] = 0;
	fake_become(FAKE_MONITOR);
	mm_last_will(f->mm);
	fake_become(FAKE_WORKER);
	assert_int_equal(f->test[2], 1);
	end_test(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_keeper_pushes_the_rest_wherever_the_monitor_is_killed),
		TEST(a_message_in_the_hand_of_who_is_killed_counts),
		TEST(the_keeper_stays_with_a_child_that_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
