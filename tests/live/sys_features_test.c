/* SPDX-License-Identifier: MIT */
/*
 * What the kernel can do is found out, and what is masked is not used.
 */
#include "sys_live.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

static void names_cover_every_bit_once(void **state)
{
	uint32_t seen = 0;

	(void)state;
	for (uint32_t bit = SYS_FEATURE_UFFD; bit <= SYS_FEATURE_THREAD_ID;
	     bit <<= 1) {
		assert_non_null(sys_feature_name(bit));
		seen |= bit;
	}
	assert_null(sys_feature_name(SYS_FEATURE_THREAD_ID << 1));
	assert_null(sys_feature_name(0));
	assert_null(sys_feature_name(SYS_FEATURE_MOVE | SYS_FEATURE_GUARD));
	assert_int_equal(seen, (SYS_FEATURE_THREAD_ID << 1) - 1);
}

static void a_mask_takes_its_bit_and_nothing_else(void **state)
{
	(void)state;
	for (uint32_t bit = SYS_FEATURE_KERNEL_FAULTS;
	     bit <= SYS_FEATURE_THREAD_ID; bit <<= 1) {
		char mask[64];
		struct sys *sys;

		snprintf(mask, sizeof(mask), "-%s", sys_feature_name(bit));
		sys = open_sys(mask);
		assert_int_equal(sys->features, sys->features_found & ~bit);
		sys_linux_close(sys);
	}
}

static void masks_add_up(void **state)
{
	struct sys *sys = open_sys("-move,-poison");

	(void)state;
	assert_int_equal(sys->features,
			 sys->features_found &
				 ~(uint32_t)(SYS_FEATURE_MOVE |
					     SYS_FEATURE_POISON));
	sys_linux_close(sys);
}

static void open_no_uffd(void *arg)
{
	struct sys *sys = arg;
	int uffd;

	CHECK(sys->ops->uffd_open(sys, &uffd) == -EOPNOTSUPP);
}

static void without_uffd_there_is_nothing_of_it(void **state)
{
	struct sys *sys = open_sys("-uffd");

	(void)state;
	assert_int_equal(sys->features & (SYS_FEATURE_UFFD | SYS_FEATURE_MOVE |
					  SYS_FEATURE_EVENT_FORK |
					  SYS_FEATURE_KERNEL_FAULTS |
					  SYS_FEATURE_WP_ASYNC),
			 0);
	run_apart(sys, open_no_uffd, sys);
	sys_linux_close(sys);
}

static void unknown_names_are_refused(void **state)
{
	static const char *const wrong[] = {
		"-nothing", "move",    "-",	  "-move,",  ",-move",
		"-mov",	    "-moves",  "-move -guard", "--move", ",",
	};
	struct sys *sys;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(sys_linux_open(wrong[i], &sys), -EINVAL);
}

static void the_environment_is_read_where_no_mask_is_given(void **state)
{
	struct sys *sys;

	(void)state;
	assert_int_equal(setenv("USVM_FEATURES", "-guard", 1), 0);
	sys = open_sys(NULL);
	assert_false(sys_has(sys, SYS_FEATURE_GUARD));
	sys_linux_close(sys);
	assert_int_equal(setenv("USVM_FEATURES", "-nonsense", 1), 0);
	assert_int_equal(sys_linux_open(NULL, &sys), -EINVAL);
	assert_int_equal(unsetenv("USVM_FEATURES"), 0);
}

static void limits_are_those_of_the_machine(void **state)
{
	struct sys *sys = open_sys("");

	(void)state;
	assert_in_range(sys->limits.cpu_count, 1, 1u << 20);
	assert_true(sys->limits.max_map_count >= 1000);
	assert_false(sys->limits.huge_pages_always &&
		     sys->limits.huge_pages_never);
	sys_linux_close(sys);
}

/* --- a masked feature is not used ---------------- */

struct served {
	struct sys *sys;
	char *page;
	struct gate ready;
	struct gate stop;
	uint32_t thread_id; /* of the fault */
};

/* Serve one fault, or none if told to stop. */
static void serve(void *arg)
{
	struct served *served = arg;
	struct sys *sys = served->sys;
	struct sys_event event;
	uint64_t done;
	int uffd;

	CHECK(sys->ops->uffd_open(sys, &uffd) == 0);
	CHECK(sys->ops->uffd_register(sys, uffd,
				      span_of(served->page, PAGE_BYTES),
				      SYS_REGISTER_MISSING) == 0);
	gate_open(&served->ready);
	while (sys->ops->uffd_wait(sys, uffd, 1000000) == -ETIMEDOUT) {
		if (ATOMIC_LOAD(&served->stop.is_open))
			goto close;
	}
	CHECK(sys->ops->uffd_read(sys, uffd, &event) == 0);
	CHECK(event.type == SYS_EVENT_FAULT);
	served->thread_id = event.thread_id;
	CHECK(sys->ops->uffd_zeropage(sys, uffd,
				      span_make(event.addr, PAGE_BYTES),
				      &done) == 0);
	gate_pass(&served->stop);
close:
	sys->ops->uffd_close(sys, uffd);
}

/* Let the kernel touch a missing page by write(2). Return: what it says. */
static int write_missing(const char *mask, uint32_t *thread_id)
{
	struct served served = { .sys = open_sys(mask) };
	struct sys_thread *thread;
	int pipes[2];
	int result;

	served.page = map_anonymous(PAGE_BYTES);
	assert_int_equal(pipe(pipes), 0);
	thread = start(served.sys, SYS_THREAD_OWN_FILES, serve, &served);
	gate_pass(&served.ready);
	result = write(pipes[1], served.page, 1) < 0 ? -errno : 0;
	gate_open(&served.stop);
	served.sys->ops->thread_join(served.sys, thread);
	if (thread_id)
		*thread_id = served.thread_id;
	close(pipes[0]);
	close(pipes[1]);
	munmap(served.page, PAGE_BYTES);
	sys_linux_close(served.sys);
	return result;
}

static bool kernel_faults_work(void)
{
	struct sys *sys = open_sys("");
	bool work = sys_has(sys, SYS_FEATURE_KERNEL_FAULTS);

	sys_linux_close(sys);
	return work;
}

static void without_kernel_faults_system_calls_fail_on_missing_pages(void **state)
{
	(void)state;
	assert_int_equal(write_missing("-kernel_faults", NULL), -EFAULT);
}

static void with_kernel_faults_they_are_served(void **state)
{
	(void)state;
	if (!kernel_faults_work()) {
		printf("SKIP: no right to serve faults of the kernel\n");
		skip();
	}
	assert_int_equal(write_missing("", NULL), 0);
}

static void a_fault_names_its_thread_unless_masked(void **state)
{
	uint32_t thread_id;

	(void)state;
	if (!kernel_faults_work()) {
		printf("SKIP: no right to serve faults of the kernel\n");
		skip();
	}
	assert_int_equal(write_missing("", &thread_id), 0);
	assert_int_equal(thread_id, gettid());
	assert_int_equal(write_missing("-thread_id", &thread_id), 0);
	assert_int_equal(thread_id, 0);
}

/* With fork events the parent would wait in fork() for a reader. */
static void without_event_fork_nobody_has_to_read(void **state)
{
	struct served served = { .sys = open_sys("-event_fork") };
	struct sys_thread *thread;
	pid_t child;
	int status;

	(void)state;
	served.page = map_anonymous(PAGE_BYTES);
	thread = start(served.sys, SYS_THREAD_OWN_FILES, serve, &served);
	gate_pass(&served.ready);
	child = fork();
	if (child == 0)
		_exit(0);
	assert_int_equal(waitpid(child, &status, 0), child);
	gate_open(&served.stop);
	served.sys->ops->thread_join(served.sys, thread);
	munmap(served.page, PAGE_BYTES);
	sys_linux_close(served.sys);
}

struct masked_calls {
	struct sys *sys;
	char *page;
	char *file; /* a mapping that is not anonymous */
	int move;
	int poison;
	int empty;
	int register_file;
};

static void make_masked_calls(void *arg)
{
	struct masked_calls *c = arg;
	const struct sys_ops *ops = c->sys->ops;
	uint64_t moved;
	int uffd;

	CHECK(ops->uffd_open(c->sys, &uffd) == 0);
	c->move = ops->uffd_move(c->sys, uffd, addr_of(c->page),
				 addr_of(c->page) + PAGE_BYTES, PAGE_BYTES, 0,
				 &moved);
	CHECK(moved == 0);
	c->poison = ops->uffd_poison(c->sys, uffd, span_of(c->page, PAGE_BYTES));
	c->empty = ops->empty(c->sys, span_of(c->page, PAGE_BYTES));
	c->register_file = ops->uffd_register(c->sys, uffd,
					      span_of(c->file, PAGE_BYTES),
					      SYS_REGISTER_WP);
	ops->uffd_close(c->sys, uffd);
}

static void what_is_masked_says_so(void **state)
{
	struct masked_calls c = {
		.sys = open_sys("-move,-poison,-guard,-wp_async"),
		.page = map_anonymous(2 * PAGE_BYTES),
	};

	int fd = open("/proc/self/exe", O_RDONLY);

	(void)state;
	c.file = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_true(c.file != MAP_FAILED);
	run_apart(c.sys, make_masked_calls, &c);
	assert_int_equal(c.move, -EOPNOTSUPP);
	assert_int_equal(c.poison, -EOPNOTSUPP);
	assert_int_equal(c.empty, -EOPNOTSUPP);
	assert_int_equal(c.register_file, -EINVAL);
	sys_linux_close(c.sys);

	c.sys = open_sys("");
	run_apart(c.sys, make_masked_calls, &c);
	if (sys_has(c.sys, SYS_FEATURE_GUARD))
		assert_int_equal(c.empty, 0);
	if (sys_has(c.sys, SYS_FEATURE_WP_ASYNC))
		assert_int_equal(c.register_file, 0);
	sys_linux_close(c.sys);
	munmap(c.page, 2 * PAGE_BYTES);
	munmap(c.file, PAGE_BYTES);
	close(fd);
}

/* --- the barrier ---------------- */

#define ROUND_COUNT 4000

/* Store, then load what the other stores: both may see "before" only if there
 * is no barrier between. One side has none of its own; barrier() must be one. */
struct dekker {
	struct sys *sys;
	_Alignas(64) uint32_t x;
	_Alignas(64) uint32_t y;
	_Alignas(64) uint32_t start; /* atomic: rounds begun */
	_Alignas(64) uint32_t done;  /* atomic: rounds ended by the light side */
	uint32_t saw_y;
};

/* Awake for a moment, so that both sides run at once; then let others run. */
static void relax(uint32_t spins)
{
	if (spins < 2000)
		cpu_relax();
	else
		base_host->cpu_yield();
}

static void *light_side(void *arg)
{
	struct dekker *d = arg;

	for (uint32_t round = 1; round <= ROUND_COUNT; round++) {
		for (uint32_t spins = 0;
		     ATOMIC_LOAD_ACQUIRE(&d->start) != round; spins++)
			relax(spins);
		__atomic_store_n(&d->x, round, __ATOMIC_RELAXED);
		__asm__ volatile("" ::: "memory");
		d->saw_y = __atomic_load_n(&d->y, __ATOMIC_RELAXED);
		ATOMIC_STORE_RELEASE(&d->done, round);
	}
	return NULL;
}

static uint32_t count_both_early(const char *mask)
{
	static struct dekker d;
	uint32_t both_early = 0;
	pthread_t thread;

	memset(&d, 0, sizeof(d));
	d.sys = open_sys(mask);
	assert_int_equal(pthread_create(&thread, NULL, light_side, &d), 0);
	for (uint32_t round = 1; round <= ROUND_COUNT; round++) {
		uint32_t saw_x;

		ATOMIC_STORE_RELEASE(&d.start, round);
		__atomic_store_n(&d.y, round, __ATOMIC_RELAXED);
		d.sys->ops->barrier(d.sys);
		saw_x = __atomic_load_n(&d.x, __ATOMIC_RELAXED);
		for (uint32_t spins = 0;
		     ATOMIC_LOAD_ACQUIRE(&d.done) != round; spins++)
			relax(spins);
		both_early += saw_x != round && d.saw_y != round;
	}
	pthread_join(thread, NULL);
	sys_linux_close(d.sys);
	return both_early;
}

static void the_barrier_orders_a_side_that_has_none(void **state)
{
	(void)state;
	assert_int_equal(count_both_early(""), 0);
}

static void the_barrier_without_membarrier_does_too(void **state)
{
	(void)state;
	assert_int_equal(count_both_early("-membarrier"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_cover_every_bit_once),
		cmocka_unit_test(a_mask_takes_its_bit_and_nothing_else),
		cmocka_unit_test(masks_add_up),
		cmocka_unit_test(without_uffd_there_is_nothing_of_it),
		cmocka_unit_test(unknown_names_are_refused),
		cmocka_unit_test(the_environment_is_read_where_no_mask_is_given),
		cmocka_unit_test(limits_are_those_of_the_machine),
		cmocka_unit_test(
			without_kernel_faults_system_calls_fail_on_missing_pages),
		cmocka_unit_test(with_kernel_faults_they_are_served),
		cmocka_unit_test(a_fault_names_its_thread_unless_masked),
		cmocka_unit_test(without_event_fork_nobody_has_to_read),
		cmocka_unit_test(what_is_masked_says_so),
		cmocka_unit_test(the_barrier_orders_a_side_that_has_none),
		cmocka_unit_test(the_barrier_without_membarrier_does_too),
	};

	need_features("userfaultfd", SYS_FEATURE_UFFD);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
