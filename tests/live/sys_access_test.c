/* SPDX-License-Identifier: MIT */
/*
 * Guarded access: what it does to memory that is there, that is not there, and
 * that never comes.
 */
#include "sys_live.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

static struct sys *sys;
static const struct sys_ops *ops;

static int access_read(const void *p, void *buffer, uint32_t bytes)
{
	return ops->access(sys, SYS_ACCESS_READ, addr_of(p), buffer, bytes);
}

static int access_write(void *p, void *buffer, uint32_t bytes)
{
	return ops->access(sys, SYS_ACCESS_WRITE, addr_of(p), buffer, bytes);
}

/* cmocka puts its own handlers in front for each test. */
static void handlers_in_front(void)
{
	assert_int_equal(ops->check_signal_handlers(sys), 0);
}

/* --- memory that is there ---------------- */

static void reads_and_writes_of_any_size_and_place(void **state)
{
	char memory[256];
	char expected[256];
	char buffer[64];

	(void)state;
	for (size_t i = 0; i < sizeof(memory); i++)
		memory[i] = expected[i] = (char)(i * 7);
	for (uint32_t bytes = 0; bytes <= 40; bytes++) {
		for (size_t at = 64; at < 64 + 17; at++) {
			memset(buffer, 0x55, sizeof(buffer));
			assert_int_equal(access_read(memory + at, buffer, bytes),
					 0);
			assert_memory_equal(buffer, expected + at, bytes);
			assert_int_equal(buffer[bytes], 0x55);

			for (uint32_t i = 0; i < bytes; i++)
				buffer[i] = expected[at + i] =
					(char)(bytes * 31 + at + i);
			assert_int_equal(access_write(memory + at, buffer, bytes),
					 0);
			assert_memory_equal(memory, expected, sizeof(memory));
		}
	}
}

struct atomic_case {
	enum sys_access_op op;
	uint64_t before;
	uint64_t operand;
	uint64_t compare;
	uint64_t after4;
	uint64_t after8;
};

static void atomics_return_what_was_and_leave_what_is_asked(void **state)
{
	const uint64_t minus = UINT64_MAX; /* -1 in either size */
	const struct atomic_case cases[] = {
		{ SYS_ACCESS_ADD, 5, 7, 0, 12, 12 },
		{ SYS_ACCESS_ADD, 0xffffffff, 1, 0, 0, 0x100000000 },
		{ SYS_ACCESS_SUB, 5, 7, 0, 0xfffffffe, minus - 1 },
		{ SYS_ACCESS_AND, 0xff, 0x0f3, 0, 0xf3, 0xf3 },
		{ SYS_ACCESS_OR, 0xf0, 0x0f, 0, 0xff, 0xff },
		{ SYS_ACCESS_XOR, 0xff, 0x0f, 0, 0xf0, 0xf0 },
		{ SYS_ACCESS_EXCHANGE, 1, 2, 0, 2, 2 },
		{ SYS_ACCESS_COMPARE_EXCHANGE, 1, 2, 1, 2, 2 },
		{ SYS_ACCESS_COMPARE_EXCHANGE, 1, 2, 3, 1, 1 },
		{ SYS_ACCESS_MIN, 5, 7, 0, 5, 5 },
		{ SYS_ACCESS_MIN, minus, 7, 0, 7, 7 },
		{ SYS_ACCESS_MAX, 5, 7, 0, 7, 7 },
		{ SYS_ACCESS_MAX, minus, 7, 0, 0xffffffff, minus },
		{ SYS_ACCESS_SIGNED_MIN, minus, 7, 0, 0xffffffff, minus },
		{ SYS_ACCESS_SIGNED_MAX, minus, 7, 0, 7, 7 },
		{ SYS_ACCESS_SIGNED_MAX, 7, minus, 0, 7, 7 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct atomic_case *c = &cases[i];
		uint32_t words[2] = { (uint32_t)c->before, 0xabcd };
		uint64_t word = c->before;
		uint64_t operands[2] = { c->operand, c->compare };

		assert_int_equal(ops->access(sys, c->op, addr_of(words),
					     operands, 4),
				 0);
		assert_int_equal(operands[0], (uint32_t)c->before);
		assert_int_equal(words[0], c->after4);
		assert_int_equal(words[1], 0xabcd);

		operands[0] = c->operand;
		assert_int_equal(ops->access(sys, c->op, addr_of(&word),
					     operands, 8),
				 0);
		assert_int_equal(operands[0], c->before);
		assert_int_equal(word, c->after8);
	}
}

static void atomics_of_odd_size_or_place_are_refused(void **state)
{
	uint64_t words[2] = { 0 };
	uint64_t operands[2] = { 1, 0 };

	(void)state;
	assert_int_equal(ops->access(sys, SYS_ACCESS_ADD, addr_of(words) + 4,
				     operands, 8),
			 -EINVAL);
	assert_int_equal(ops->access(sys, SYS_ACCESS_ADD, addr_of(words), operands,
				     2),
			 -EINVAL);
	assert_int_equal(words[0], 0);
}

#define COUNT_EACH 20000

struct counters {
	uint64_t added;
	uint32_t subtracted;
	uint64_t most;
	uint64_t toggled;
	uint32_t claimed;
};

static void *count(void *arg)
{
	struct counters *c = arg;

	for (uint64_t i = 1; i <= COUNT_EACH; i++) {
		uint64_t operands[2] = { 1, 0 };

		CHECK(!ops->access(sys, SYS_ACCESS_ADD, addr_of(&c->added),
				   operands, 8));
		operands[0] = 1;
		CHECK(!ops->access(sys, SYS_ACCESS_SUB, addr_of(&c->subtracted),
				   operands, 4));
		operands[0] = i;
		CHECK(!ops->access(sys, SYS_ACCESS_MAX, addr_of(&c->most), operands,
				   8));
		operands[0] = 1ull << (i % 64);
		CHECK(!ops->access(sys, SYS_ACCESS_XOR, addr_of(&c->toggled),
				   operands, 8));
		do {
			uint32_t now;

			CHECK(!access_read(&c->claimed, &now, 4));
			operands[0] = now + 1;
			operands[1] = now;
			CHECK(!ops->access(sys, SYS_ACCESS_COMPARE_EXCHANGE,
					   addr_of(&c->claimed), operands, 4));
		} while (operands[0] != operands[1]);
	}
	return NULL;
}

static void atomics_of_two_threads_add_up(void **state)
{
	struct counters *c = map_anonymous(PAGE_BYTES);
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, count, c), 0);
	count(c);
	pthread_join(thread, NULL);
	assert_int_equal(c->added, 2 * COUNT_EACH);
	assert_int_equal(c->subtracted, (uint32_t)-2 * COUNT_EACH);
	assert_int_equal(c->most, COUNT_EACH);
	assert_int_equal(c->toggled, 0);
	assert_int_equal(c->claimed, 2 * COUNT_EACH);
	munmap(c, PAGE_BYTES);
}

/* --- memory that is not there ---------------- */

/* Every primitive, at @p. Return: how many said -EFAULT. */
static int count_faults(void *p, bool writes_only)
{
	uint64_t operands[2] = { 0, 0 };
	char buffer[64] = { 0 };
	int faults = 0;

	for (uint32_t bytes = 1; bytes <= 8; bytes *= 2) {
		if (!writes_only)
			faults += access_read(p, buffer, bytes) == -EFAULT;
		faults += access_write(p, buffer, bytes) == -EFAULT;
	}
	if (!writes_only)
		faults += access_read(p, buffer, 33) == -EFAULT;
	faults += access_write(p, buffer, 33) == -EFAULT;
	for (uint32_t op = SYS_ACCESS_ADD; op <= SYS_ACCESS_SIGNED_MAX; op++) {
		faults += ops->access(sys, op, addr_of(p), operands, 4) == -EFAULT;
		faults += ops->access(sys, op, addr_of(p), operands, 8) == -EFAULT;
	}
	return faults;
}

#define ATOMIC_COUNT (2 * (SYS_ACCESS_SIGNED_MAX - SYS_ACCESS_ADD + 1))
#define ALL_COUNT (2 * 5 + ATOMIC_COUNT)
#define WRITE_COUNT (5 + ATOMIC_COUNT)

static void unmapped_memory_is_efault(void **state)
{
	char *p = map_anonymous(PAGE_BYTES);

	(void)state;
	handlers_in_front();
	munmap(p, PAGE_BYTES);
	assert_int_equal(count_faults(p, false), ALL_COUNT);
	assert_int_equal(count_faults(NULL, false), ALL_COUNT);
	/* Not an address at all, and the kernel's half. */
	assert_int_equal(count_faults(pointer_to(1ull << 62), false), ALL_COUNT);
	assert_int_equal(count_faults(pointer_to(0ull - PAGE_BYTES), false),
			 ALL_COUNT);
}

static void forbidden_access_is_efault(void **state)
{
	char *p = map_anonymous(PAGE_BYTES);
	uint64_t word;

	(void)state;
	handlers_in_front();
	mprotect(p, PAGE_BYTES, PROT_READ);
	assert_int_equal(count_faults(p, true), WRITE_COUNT);
	assert_int_equal(access_read(p, &word, 8), 0);
	mprotect(p, PAGE_BYTES, PROT_NONE);
	assert_int_equal(count_faults(p, false), ALL_COUNT);
	munmap(p, PAGE_BYTES);
}

static void memory_past_the_end_of_a_file_is_efault(void **state)
{
	int fd = memfd_create("usvm", 0);
	char *p;

	(void)state;
	handlers_in_front();
	assert_int_equal(ftruncate(fd, 10), 0);
	p = mmap(NULL, 2 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	assert_int_equal(count_faults(p, false), 0);
	assert_int_equal(count_faults(p + PAGE_BYTES, false), ALL_COUNT);
	munmap(p, 2 * PAGE_BYTES);
	close(fd);
}

static void a_copy_stops_where_memory_does(void **state)
{
	char *p = map_anonymous(2 * PAGE_BYTES);
	char buffer[64];

	(void)state;
	handlers_in_front();
	memset(p, 'x', 2 * PAGE_BYTES);
	munmap(p + PAGE_BYTES, PAGE_BYTES);
	memset(buffer, 0, sizeof(buffer));
	assert_int_equal(access_read(p + PAGE_BYTES - 10, buffer, 33), -EFAULT);
	assert_int_equal(buffer[9], 'x');
	assert_int_equal(buffer[10], 0);
	munmap(p, PAGE_BYTES);
}

struct reaper {
	char *page;
	uint32_t stop; /* atomic */
	uint32_t accesses; /* atomic */
};

/* Each way is seen, however the threads are scheduled: at times it lasts for a whole access. */
static void wait_for_accesses(struct reaper *r, uint32_t round)
{
	uint32_t begin = ATOMIC_LOAD(&r->accesses);

	while (round % 64 == 0 && !ATOMIC_LOAD(&r->stop) &&
	       ATOMIC_LOAD(&r->accesses) - begin < 2)
		sched_yield();
}

static void *unmap_and_map(void *arg)
{
	struct reaper *r = arg;

	for (uint32_t round = 0; !ATOMIC_LOAD(&r->stop); round++) {
		CHECK(mmap(r->page, PAGE_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		      r->page);
		wait_for_accesses(r, round);
		CHECK(munmap(r->page, PAGE_BYTES) == 0);
		wait_for_accesses(r, round);
	}
	return NULL;
}

static void memory_that_comes_and_goes_is_one_or_the_other(void **state)
{
	struct reaper r = { .page = map_anonymous(PAGE_BYTES) };
	pthread_t thread;
	uint32_t seen[2] = { 0 };

	(void)state;
	handlers_in_front();
	assert_int_equal(pthread_create(&thread, NULL, unmap_and_map, &r), 0);
	for (uint32_t i = 0; i < 20000 || !seen[0] || !seen[1]; i++) {
		uint64_t operands[2] = { 1, 0 };
		int err = ops->access(sys, i % 2 ? SYS_ACCESS_ADD : SYS_ACCESS_READ,
				      addr_of(r.page), operands, 8);

		assert_true(err == 0 || err == -EFAULT);
		seen[err == 0]++;
		ATOMIC_STORE(&r.accesses, i + 1);
	}
	ATOMIC_STORE(&r.stop, 1);
	pthread_join(thread, NULL);
	assert_true(seen[0] && seen[1]);
}

/* --- memory that never comes ---------------- */

struct stuck {
	char *page;
	uint32_t thread_id; /* atomic */
	enum sys_access_op op;
	uint32_t bytes;
	int answer;
};

static void access_stuck(void *arg)
{
	struct stuck *s = arg;
	uint64_t buffer[8] = { 1 };

	ATOMIC_STORE(&s->thread_id, ops->thread_id(sys));
	s->answer = ops->access(sys, s->op, addr_of(s->page), buffer, s->bytes);
}

/* Read the fault of a thread that nobody will serve, and kick it. */
static void kick_stuck(void *arg)
{
	struct stuck *s = arg;
	struct sys_thread *thread;
	struct sys_event event;
	int uffd;

	CHECK(ops->uffd_open(sys, &uffd) == 0);
	CHECK(ops->uffd_register(sys, uffd, span_of(s->page, PAGE_BYTES),
				 SYS_REGISTER_MISSING) == 0);
	thread = start(sys, 0, access_stuck, s);
	CHECK(ops->uffd_wait(sys, uffd, BASE_FOREVER) == 0);
	CHECK(ops->uffd_read(sys, uffd, &event) == 0);
	if (sys_has(sys, SYS_FEATURE_THREAD_ID))
		CHECK(event.thread_id == ATOMIC_LOAD(&s->thread_id));
	ops->thread_kick(sys, ATOMIC_LOAD(&s->thread_id));
	ops->thread_join(sys, thread);
	ops->uffd_close(sys, uffd);
}

static void a_kick_ends_an_access_that_waits(void **state)
{
	const struct {
		enum sys_access_op op;
		uint32_t bytes;
	} cases[] = {
		{ SYS_ACCESS_READ, 8 },	 { SYS_ACCESS_READ, 40 },
		{ SYS_ACCESS_WRITE, 1 }, { SYS_ACCESS_WRITE, 64 },
		{ SYS_ACCESS_ADD, 4 },	 { SYS_ACCESS_MAX, 8 },
	};

	(void)state;
	if (!sys_has(sys, SYS_FEATURE_UFFD)) {
		printf("SKIP: no userfaultfd\n");
		skip();
	}
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct stuck s = {
			.page = map_anonymous(PAGE_BYTES),
			.op = cases[i].op,
			.bytes = cases[i].bytes,
		};

		run_apart(sys, kick_stuck, &s);
		assert_int_equal(s.answer, -EINTR);
		munmap(s.page, PAGE_BYTES);
	}
}

static void kick_self_and_access(void *arg)
{
	uint64_t word = 5;
	uint64_t buffer = 0;

	(void)arg;
	ops->thread_kick(sys, ops->thread_id(sys));
	CHECK(access_read(&word, &buffer, 8) == -EINTR);
	CHECK(access_read(&word, &buffer, 8) == 0);
	CHECK(buffer == 5);
}

/* Else a kick just before the access would be lost, and the access wait. */
static void a_kick_outside_ends_the_next_access_once(void **state)
{
	(void)state;
	run_apart(sys, kick_self_and_access, NULL);
}

/* --- a kick at every instruction ---------------- */

#define TRAP_FLAG 0x100
#define STEP_COUNT_MAX 100000

static struct {
	uint32_t count;	  /* instructions so far */
	uint32_t kick_at; /* before this one */
} steps;

/* Step through instructions from here on, or no more. */
static void toggle_steps(int number, siginfo_t *info, void *context)
{
	ucontext_t *ucontext = context;

	(void)number;
	(void)info;
	ucontext->uc_mcontext.gregs[REG_EFL] ^= TRAP_FLAG;
}

/* The kick arrives when this handler is left: at that very instruction. */
static void step(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	(void)context;
	if (steps.count++ == steps.kick_at)
		ops->thread_kick(sys, ops->thread_id(sys));
}

static int access_kicked_at(uint32_t kick_at, enum sys_access_op op,
			    const void *p, void *buffer, uint32_t bytes)
{
	int err;

	steps.count = 0;
	steps.kick_at = kick_at;
	raise(SIGUSR1);
	err = ops->access(sys, op, addr_of(p), buffer, bytes);
	raise(SIGUSR1);
	return err;
}

/* Kick @op before each of its instructions in turn. Return: how many times it
 * said -EINTR. */
static uint32_t kick_everywhere(enum sys_access_op op, uint32_t bytes)
{
	uint32_t interrupted = 0;

	for (uint32_t at = 0; at < STEP_COUNT_MAX; at++) {
		uint64_t word = 5;
		uint64_t operands[8] = { 3, 0 };
		uint64_t spare;
		int err = access_kicked_at(at, op, &word, operands, bytes);

		CHECK(err == 0 || err == -EINTR);
		assert_int_equal(word, err ? 5 : op == SYS_ACCESS_ADD ? 8 : 3);
		interrupted += err != 0;
		/* A kick after the access is for the next one. */
		while (access_read(&word, &spare, 8))
			;
		if (steps.count <= at)
			break;
	}
	return interrupted;
}

/* An atomic that says -EINTR has not been done, and one that says 0 has:
 * whoever is told to look again will do it again. */
static void a_kicked_access_is_done_or_not(void **state)
{
	struct sigaction toggle = { .sa_sigaction = toggle_steps,
				    .sa_flags = SA_SIGINFO };
	struct sigaction trap = { .sa_sigaction = step, .sa_flags = SA_SIGINFO };
	struct base_thread *self = base_host->self();

	(void)state;
#if defined(__SANITIZE_THREAD__)
	printf("SKIP: the sanitizer hands its handlers a copy of the context\n");
	skip();
#endif
	handlers_in_front();
	sigaddset(&trap.sa_mask, SIGSEGV);
	assert_int_equal(sigaction(SIGUSR1, &toggle, NULL), 0);
	assert_int_equal(sigaction(SIGTRAP, &trap, NULL), 0);
	self->is_library = true; /* only those are kicked */
	assert_true(kick_everywhere(SYS_ACCESS_ADD, 4) > 0);
	assert_true(kick_everywhere(SYS_ACCESS_ADD, 8) > 0);
	assert_true(kick_everywhere(SYS_ACCESS_EXCHANGE, 4) > 0);
	assert_true(kick_everywhere(SYS_ACCESS_EXCHANGE, 8) > 0);
	assert_true(kick_everywhere(SYS_ACCESS_MIN, 8) > 0);
	assert_true(kick_everywhere(SYS_ACCESS_WRITE, 8) > 0);
	self->is_library = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes_of_any_size_and_place),
		cmocka_unit_test(atomics_return_what_was_and_leave_what_is_asked),
		cmocka_unit_test(atomics_of_odd_size_or_place_are_refused),
		cmocka_unit_test(atomics_of_two_threads_add_up),
		cmocka_unit_test(unmapped_memory_is_efault),
		cmocka_unit_test(forbidden_access_is_efault),
		cmocka_unit_test(memory_past_the_end_of_a_file_is_efault),
		cmocka_unit_test(a_copy_stops_where_memory_does),
		cmocka_unit_test(memory_that_comes_and_goes_is_one_or_the_other),
		cmocka_unit_test(a_kick_ends_an_access_that_waits),
		cmocka_unit_test(a_kick_outside_ends_the_next_access_once),
		cmocka_unit_test(a_kicked_access_is_done_or_not),
	};
	int failed;

	sys = open_sys("");
	ops = sys->ops;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	sys_linux_close(sys);
	return failed;
}
