/* SPDX-License-Identifier: MIT */
/*
 * The life of a device: a thousand of them one after the other, several at once, in
 * children, idle, short of descriptors, and closed with pages on it.
 *
 * What a process has is read from /proc (support/usage.h).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live/support/usage.h"

#define LIVES 1000
#define IDLE_SECONDS 10
#define THREADS_MAX 64
#define PROGRAM_THREADS 2 /* main() and the guard */

/* --- one life ---------------- */

struct area {
	uint64_t at, bytes;
};

static void add_one(struct usvm_lane *lane, const void *args)
{
	const struct area *a = args;

	for (uint64_t i = 0; i < a->bytes; i += LIVE_PAGE)
		usvm_atomic_add64(lane, a->at + i, 1);
}

static bool is_on_device(struct usvm_vm *vm, const void *at, size_t bytes)
{
	uint64_t pages[4];

	return !usvm_query_span(vm, at, bytes, pages) &&
	       pages[USVM_PAGE_DEVICE] == bytes / LIVE_PAGE && live_present(at, bytes) == 0;
}

#define CHECK_OR_TELL(condition)                \
	do {                                    \
		if (!(condition))               \
			return __LINE__;        \
	} while (0)

/* Open a device, use it on @at, close it with the pages on it. Nothing of cmocka: for
 * threads and children. Return: 0, or the line that failed. */
static intptr_t live_once(const char *spec, unsigned char *at, size_t bytes, uint64_t seed)
{
	struct area args = { (uintptr_t)at, bytes };
	struct usvm_queue *queue;
	struct usvm_vm *vm;
	struct usvm *gpu;

	live_fill(at, bytes, seed, 0);
	CHECK_OR_TELL(live_present(at, bytes) == bytes / LIVE_PAGE);
	CHECK_OR_TELL(!usvm_open(spec, &gpu));
	CHECK_OR_TELL(!usvm_vm_create(gpu, NULL, &vm));
	CHECK_OR_TELL(!usvm_queue_create(vm, NULL, &queue));
	CHECK_OR_TELL(!usvm_run_kernel(queue, &(struct usvm_kernel){
		.function = add_one, .args = &args, .args_bytes = sizeof(args) }));
	CHECK_OR_TELL(is_on_device(vm, at, bytes));
	CHECK_OR_TELL(!usvm_queue_destroy(queue));
	CHECK_OR_TELL(!usvm_vm_destroy(vm));
	CHECK_OR_TELL(!usvm_close(gpu));
	CHECK_OR_TELL(live_present(at, bytes) == bytes / LIVE_PAGE);
	for (size_t i = 0; i < bytes; i += LIVE_PAGE) {
		CHECK_OR_TELL(*(uint64_t *)(at + i) == live_word(seed, i / 8) + 1);
		CHECK_OR_TELL(live_is_filled(at + i + 8, LIVE_PAGE - 8, seed, i + 8));
	}
	return 0;
}

static void assert_lives(const char *spec, unsigned char *at, size_t bytes, uint64_t seed)
{
	intptr_t line = live_once(spec, at, bytes, seed);

	if (line)
		fail_msg("%s:%ld: %s", __FILE__, (long)line, spec);
}

/* A life in which the process forks while the pages are on the device. */
static void live_and_fork(const struct live_param *param, unsigned char *at, size_t bytes)
{
	struct live live;
	pid_t pid;

	live_open(&live, param, param->spec);
	live_fill(at, bytes, 1, 0);
	live_take(&live, at, bytes);
	live_assert_state(&live, at, bytes, LIVE_DEVICE);
	pid = fork();
	if (pid == 0) {
		CHILD_CHECK(live_is_filled(at, bytes, 1, 0));
		live_fill(at, bytes, 2, 0);
		_exit(live_is_filled(at, bytes, 2, 0) ? 0 : 1);
	}
	live_take(&live, at, bytes);
	live_assert_state(&live, at, bytes, LIVE_DEVICE);
	live_wait_exit(pid, 0);
	live_close(&live);
	live_assert_filled(at, bytes, 1, 0);
}

static void a_thousand_lives_leave_nothing(void **state)
{
	static const char *const specs[] = { "model:mode=move,vram=16M",
					     "model:mode=copy,vram=16M" };
	const struct live scene = { .param = &live_move };
	size_t bytes = 16 * LIVE_PAGE;
	unsigned char *at = live_map(&scene, bytes);
	struct usage before = { 0 };

	(void)state;
	live_guard(__func__, 100);
	for (uint64_t i = 0; i < LIVES + 20; i++) {
		if (i == 20) /* what is made once is there */
			before = usage_now(PROGRAM_THREADS);
		assert_lives(specs[i % 2], at, bytes, i);
		if (i % 10 == 0)
			live_and_fork(i % 20 ? &live_move : &live_copy, at, bytes);
	}
	assert_usage(before);
	assert_true(waitpid(-1, NULL, __WALL) < 0 && errno == ECHILD); /* nor a keeper */
	munmap(at, bytes);
}

/* --- idle ---------------- */

/* Time and switches of the threads that are not in @program. */
struct activity {
	size_t threads;
	uint64_t ticks, switches;
};

struct thread_list {
	size_t count;
	long tid[THREADS_MAX];
};

static struct thread_list list_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct thread_list list = { 0 };
	struct dirent *entry;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		assert_in_range(list.count, 0, THREADS_MAX - 1);
		list.tid[list.count++] = strtol(entry->d_name, NULL, 10);
	}
	closedir(dir);
	return list;
}

static bool is_in(const struct thread_list *list, long tid)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->tid[i] == tid)
			return true;
	}
	return false;
}

static uint64_t thread_ticks(long tid)
{
	uint64_t user = 0, system = 0;
	char path[64], line[512];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%ld/stat", tid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	fclose(file);
	/* Fields 14 and 15; the second, the name, may have anything but the last ')'. */
	assert_int_equal(sscanf(strrchr(line, ')') + 2,
				"%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
				&system), 2);
	return user + system;
}

static struct activity activity_now(const struct thread_list *program)
{
	struct thread_list all = list_threads();
	struct activity a = { 0 };
	char path[64];

	for (size_t i = 0; i < all.count; i++) {
		if (is_in(program, all.tid[i]))
			continue;
		a.threads++;
		a.ticks += thread_ticks(all.tid[i]);
		snprintf(path, sizeof(path), "/proc/self/task/%ld/status", all.tid[i]);
		a.switches += usage_number(path, "voluntary_ctxt_switches:") +
			      usage_number(path, "nonvoluntary_ctxt_switches:");
	}
	return a;
}

static void wait_ms(int ms)
{
	assert_int_equal(poll(NULL, 0, ms), 0);
}

/* Here passing time is what is tested: it is waited for, not measured. */
static void an_open_device_without_work_does_nothing(void **state)
{
	struct thread_list program = list_threads();
	struct activity before, now;
	struct live move = { 0 }, copy = { 0 };
	size_t bytes = 64 * LIVE_PAGE;
	unsigned char *at, *other;

	(void)state;
	live_guard(__func__, 60);
	live_open(&move, &live_move, live_move.spec);
	live_open(&copy, &live_copy, live_copy.spec);
	at = live_on_device(&move, bytes, 1);
	other = live_on_device(&copy, bytes, 2);
	/* Some came home, so that there is something to tidy up. */
	live_assert_filled(at, LIVE_PAGE, 1, 0);
	live_take(&move, at, bytes);
	live_assert_state(&move, at, bytes, LIVE_DEVICE);
	live_assert_state(&copy, other, bytes, LIVE_DEVICE);

	now = activity_now(&program);
	do {
		before = now;
		wait_ms(200);
		now = activity_now(&program);
	} while (now.switches != before.switches || now.ticks != before.ticks);
	before = now;
	wait_ms(IDLE_SECONDS * 1000);
	now = activity_now(&program);
	assert_in_range(now.threads, 5, THREADS_MAX);
	assert_int_equal(now.threads, before.threads);
	assert_int_equal(now.ticks, before.ticks);
	assert_int_equal(now.switches, before.switches);

	assert_int_equal(live_present(at, bytes) + live_present(other, bytes), 0);
	gpu_assert_filled(&move, at, bytes, 1, 0);
	gpu_assert_filled(&copy, other, bytes, 2, 0);
	live_close(&move);
	live_close(&copy);
	live_assert_filled(at, bytes, 1, 0);
	live_assert_filled(other, bytes, 2, 0);
}

/* --- several ---------------- */

static void assert_holder(const struct live *live, const void *at, const char *name)
{
	struct usvm_page_info info;

	assert_int_equal(usvm_query(live->vm, at, &info), 0);
	assert_int_equal(info.state, USVM_PAGE_DEVICE);
	if (name)
		assert_string_equal(info.device, name);
	else
		assert_string_not_equal(info.device, "");
}

static void two_devices(const char *first, const char *second)
{
	struct live a = { 0 }, b = { 0 };
	size_t bytes = 64 * LIVE_PAGE;
	struct live_counts before;
	unsigned char *at;

	live_open(&a, &live_move, first);
	live_open(&b, &live_move, second);
	at = live_on_device(&a, bytes, 1);
	for (uint64_t seed = 2; seed < 6; seed += 2) {
		gpu_fill(&a, at, bytes, seed, 0);
		live_assert_state(&a, at, bytes, LIVE_DEVICE);
		assert_holder(&a, at, "model");
		assert_holder(&b, at, NULL);
		/* What is on the one comes home on its way to the other. */
		before = live_counts(&b);
		gpu_assert_filled(&b, at, bytes, seed, 0);
		live_assert_state(&b, at, bytes, LIVE_DEVICE);
		assert_holder(&b, at, "model");
		live_assert_counts(&b, before, bytes / LIVE_PAGE, bytes / LIVE_PAGE);
		gpu_fill(&b, at, bytes, seed + 1, 0);
		live_assert_state(&b, at, bytes, LIVE_DEVICE);
		gpu_assert_filled(&a, at, bytes, seed + 1, 0);
		live_assert_state(&a, at, bytes, LIVE_DEVICE);
	}
	/* The first goes, with pages on it; the other has them as before. */
	live_close(&a);
	live_assert_state(&b, at, bytes, LIVE_HOME);
	gpu_assert_filled(&b, at, bytes, 5, 0);
	live_assert_state(&b, at, bytes, LIVE_DEVICE);
	live_close(&b);
	live_assert_filled(at, bytes, 5, 0);
	munmap(at, bytes);
}

static void the_second_device_sees_what_the_first_wrote(void **state)
{
	(void)state;
	live_guard(__func__, 30);
	two_devices("model:mode=move,peers=none", "model:mode=move,peers=none");
	two_devices("model:mode=move", "model:mode=copy,peers=none");
	two_devices("model:mode=copy,peers=none", "model:mode=move");
	two_devices("model:mode=copy,peers=none", "model:mode=copy,peers=none");
}

static void two_devices_and_the_cpu_lose_no_update(void **state)
{
	struct live a = { 0 }, b = { 0 };
	uint64_t rounds = 300;
	struct usvm_fence *fences[2];
	unsigned char *at;

	(void)state;
	live_guard(__func__, 60);
	live_open(&a, &live_move, "model:mode=move");
	live_open(&b, &live_move, "model:mode=copy");
	at = live_on_device(&a, 4 * LIVE_PAGE, 1);
	memset(at, 0, 4 * LIVE_PAGE);
	fences[0] = gpu_start_add(&a, NULL, at, LIVE_PAGE, 4, rounds);
	fences[1] = gpu_start_add(&b, NULL, at, LIVE_PAGE, 4, rounds);
	for (uint64_t i = 0; i < rounds; i++) {
		for (int page = 0; page < 4; page++)
			__atomic_add_fetch((uint64_t *)(at + page * LIVE_PAGE), 1,
					   __ATOMIC_SEQ_CST);
	}
	gpu_finish(fences[0]);
	gpu_finish(fences[1]);
	for (int page = 0; page < 4; page++)
		assert_int_equal(*(uint64_t *)(at + page * LIVE_PAGE), 3 * rounds);
	live_close(&a);
	live_close(&b);
	munmap(at, 4 * LIVE_PAGE);
}

struct opener {
	const char *spec;
	unsigned char *at;
	size_t bytes;
};

static void *open_often(void *arg)
{
	const struct opener *o = arg;
	intptr_t line = 0;

	for (uint64_t i = 0; i < 25 && !line; i++)
		line = live_once(o->spec, o->at, o->bytes, i);
	return (void *)line;
}

static void threads_open_and_close_at_the_same_time(void **state)
{
	static const char *const specs[] = { "model:mode=move,vram=4M",
					     "model:mode=copy,vram=4M",
					     "model:mode=move,vram=2M,engines=1",
					     "model:mode=copy,vram=8M,engines=3" };
	const struct live scene = { .param = &live_move };
	struct live_thread *threads[4];
	struct opener openers[4];

	(void)state;
	live_guard(__func__, 60);
	for (int i = 0; i < 4; i++) {
		openers[i] = (struct opener){ specs[i], NULL, 16 * LIVE_PAGE };
		openers[i].at = live_map(&scene, openers[i].bytes);
		threads[i] = live_thread_start(open_often, &openers[i]);
	}
	for (int i = 0; i < 4; i++) {
		intptr_t line = (intptr_t)live_thread_join(threads[i]);

		if (line)
			fail_msg("%s:%ld: %s", __FILE__, (long)line, specs[i]);
	}
}

/* --- the end of a device ---------------- */

static void close_brings_everything_home(void **state)
{
	const struct live_param *param = *state;
	struct live live = { 0 };
	unsigned char *plain, *hidden, *locked;
	size_t bytes;

	live_guard(__func__, 30);
	live_open(&live, param, param->spec);
	bytes = live_bytes(&live);
	plain = live_on_device(&live, bytes, 1);
	hidden = live_on_device(&live, bytes, 2);
	locked = live_on_device(&live, bytes, 3);
	gpu_fill(&live, plain, bytes, 4, 0);
	/* No event says that the rights change. */
	assert_int_equal(mprotect(hidden, bytes, PROT_NONE), 0);
	assert_int_equal(mprotect(locked, bytes, PROT_READ), 0);
	live_assert_state(&live, plain, bytes, LIVE_DEVICE);
	live_close(&live);
	assert_int_equal(live_present(plain, bytes), bytes / LIVE_PAGE);
	assert_int_equal(live_present(hidden, bytes), bytes / LIVE_PAGE);
	assert_int_equal(live_present(locked, bytes), bytes / LIVE_PAGE);
	if (param->huge)
		assert_int_equal(live_huge(plain, bytes), bytes / LIVE_PAGE);
	assert_int_equal(mprotect(hidden, bytes, PROT_READ), 0);
	live_assert_filled(plain, bytes, 4, 0);
	live_assert_filled(hidden, bytes, 2, 0);
	live_assert_filled(locked, bytes, 3, 0);
	munmap(plain, bytes);
	munmap(hidden, bytes);
	munmap(locked, bytes);
}

static void the_environment_names_the_device(void **state)
{
	struct usvm_device_info info;
	struct live live = { 0 };
	size_t bytes = 16 * LIVE_PAGE;
	unsigned char *at;

	(void)state;
	live_guard(__func__, 20);
	assert_int_equal(setenv("USVM_DEVICE", "model:vram=8M,mode=copy,engines=3", 1), 0);
	live_open(&live, &live_copy, NULL);
	assert_int_equal(usvm_device_info(live.gpu, &info), 0);
	assert_string_equal(info.name, "model");
	assert_int_equal(info.vram_bytes, 8 << 20);
	assert_int_equal(info.copies, 1);
	assert_int_equal(info.engine_count, 3);
	at = live_on_device(&live, bytes, 1);
	live_close(&live);
	live_assert_filled(at, bytes, 1, 0);

	/* What the program says goes before. */
	live_open(&live, &live_move, "model:vram=4M");
	assert_int_equal(usvm_device_info(live.gpu, &info), 0);
	assert_int_equal(info.vram_bytes, 4 << 20);
	assert_int_equal(info.copies, 0);
	assert_int_equal(info.engine_count, 2);
	live_close(&live);
	assert_int_equal(unsetenv("USVM_DEVICE"), 0);
	live_open(&live, &live_move, NULL);
	assert_int_equal(usvm_device_info(live.gpu, &info), 0);
	assert_int_equal(info.vram_bytes, 256 << 20);
	live_close(&live);
}

/* --- children ---------------- */

struct family {
	struct live live;
	struct usvm_fence *fence;
	unsigned char *at;
	size_t bytes;
};

static void nothing(struct usvm_lane *lane, const void *args)
{
	(void)lane;
	(void)args;
}

static void refuse_all(struct family *f, int error)
{
	struct usvm_kernel kernel = { .function = nothing };
	struct usvm_batch batch = { .commands = f->at };
	struct usvm_device_info info;
	struct usvm_queue_status status;
	struct usvm_page_info page;
	struct usvm_trace_event event;
	struct usvm_queue *queue;
	struct usvm_vm *vm;
	uint64_t pages[4];
	size_t count;

	CHILD_CHECK(usvm_device_info(f->live.gpu, &info) == error);
	CHILD_CHECK(usvm_vm_create(f->live.gpu, NULL, &vm) == error);
	CHILD_CHECK(usvm_stats(f->live.gpu, NULL, 0, &count) == error);
	CHILD_CHECK(usvm_stat(f->live.gpu, "mm_taken_pages") == 0);
	CHILD_CHECK(usvm_trace_read(f->live.gpu, &event, 1, &count, NULL) == error);
	CHILD_CHECK(usvm_vm_mirror(f->live.vm, f->at, LIVE_PAGE, 0) == error);
	CHILD_CHECK(usvm_vm_unmirror(f->live.vm, f->at, LIVE_PAGE) == error);
	CHILD_CHECK(usvm_queue_create(f->live.vm, NULL, &queue) == error);
	CHILD_CHECK(usvm_prefetch(f->live.vm, f->at, 1, USVM_PLACE_DEVICE) == error);
	CHILD_CHECK(usvm_query(f->live.vm, f->at, &page) == error);
	CHILD_CHECK(usvm_query_span(f->live.vm, f->at, 1, pages) == error);
	CHILD_CHECK(usvm_faults(f->live.vm, NULL, 0, &count) == error);
	CHILD_CHECK(usvm_queue_status(f->live.queue, &status) == error);
	CHILD_CHECK(usvm_submit_kernel(f->live.queue, &kernel, NULL) == error);
	CHILD_CHECK(usvm_submit_batch(f->live.queue, &batch, NULL) == error);
	CHILD_CHECK(usvm_run_kernel(f->live.queue, &kernel) == error);
	CHILD_CHECK(usvm_run_batch(f->live.queue, &batch) == error);
	CHILD_CHECK(usvm_fence_wait(f->fence, USVM_FOREVER) == error);
	usvm_fence_put(f->fence);
	CHILD_CHECK(usvm_queue_destroy(f->live.queue) == error);
	CHILD_CHECK(usvm_vm_destroy(f->live.vm) == error);
	CHILD_CHECK(usvm_close(f->live.gpu) == error);
}

static void child_lives(void *arg)
{
	struct family *f = arg;
	struct usvm *gpu;

	refuse_all(f, -ECHILD);
	CHILD_CHECK(live_is_filled(f->at, f->bytes, 1, 0));
	CHILD_CHECK(usvm_open("model:vram=2M", &gpu) == 0);
	refuse_all(f, -EBADF);
	CHILD_CHECK(usvm_close(gpu) == 0);
	for (uint64_t seed = 5; seed < 8; seed++) {
		CHILD_CHECK(!live_once("model:mode=move,vram=4M", f->at, f->bytes, seed));
		CHILD_CHECK(!live_once("model:mode=copy,vram=4M", f->at, f->bytes, seed));
	}
}

static pid_t plain_fork(void)
{
	return fork();
}

static void a_child_has_devices_of_its_own(void **state)
{
	const struct live_param *param = *state;
	struct family f = { .bytes = 64 * LIVE_PAGE };

	live_guard(__func__, 30);
	live_open(&f.live, param, param->spec);
	f.at = live_on_device(&f.live, f.bytes, 1);
	assert_int_equal(usvm_submit_kernel(f.live.queue, &(struct usvm_kernel){
		.function = nothing }, &f.fence), 0);
	live_child(plain_fork, child_lives, &f);
	gpu_finish(f.fence);
	live_take(&f.live, f.at, f.bytes);
	live_assert_state(&f.live, f.at, f.bytes, LIVE_DEVICE);
	live_close(&f.live);
	live_assert_filled(f.at, f.bytes, 1, 0);
	munmap(f.at, f.bytes);
}

/* --- descriptors ---------------- */

static void limit_files(rlim_t count)
{
	struct rlimit limit;

	CHILD_CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = count;
	CHILD_CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
}

/* One use with the descriptors that there are: memory that nobody has seen migrates. */
static void use_with_few_files(struct family *f, struct usvm *gpu)
{
	unsigned char *at = live_map(&f->live, f->bytes);
	struct area args = { (uintptr_t)at, f->bytes };
	struct usvm_kernel kernel = { .function = add_one, .args = &args,
				      .args_bytes = sizeof(args) };
	struct usvm_queue *queue;
	struct usvm_vm *vm;
	uint64_t pages[4];

	live_fill(at, f->bytes, 0, 0);
	CHILD_CHECK(!usvm_vm_create(gpu, NULL, &vm));
	CHILD_CHECK(!usvm_queue_create(vm, NULL, &queue));
	CHILD_CHECK(!usvm_run_kernel(queue, &kernel));
	CHILD_CHECK(!usvm_query_span(vm, at, f->bytes, pages));
	CHILD_CHECK(pages[USVM_PAGE_DEVICE] == f->bytes / LIVE_PAGE);
	CHILD_CHECK(!usvm_queue_destroy(queue));
	CHILD_CHECK(!usvm_vm_destroy(vm));
	CHILD_CHECK(*(uint64_t *)at == live_word(0, 0) + 1);
	munmap(at, f->bytes);
}

/* Either it opens and works, or it says why not and leaves nothing. 16 are enough for all. */
static void child_is_short_of_files(void *arg)
{
	struct family *f = arg;
	size_t files = usage_entries("/proc/self/fd"), refused = 0;
	struct usvm *gpu;

	for (rlim_t count = 0; count < 16; count++) {
		int err;

		limit_files(count);
		err = usvm_open(f->live.param->spec, &gpu);
		if (!err) {
			use_with_few_files(f, gpu);
			CHILD_CHECK(!usvm_close(gpu));
		}
		CHILD_CHECK(!err || err == -EMFILE);
		refused += err != 0;
		limit_files(1024);
		while (usage_entries("/proc/self/task") > 1)
			sched_yield();
		CHILD_CHECK(usage_entries("/proc/self/fd") == files);
	}
	CHILD_CHECK(refused > 0 && refused < 16);
	limit_files(16);
	CHILD_CHECK(!live_once(f->live.param->spec, f->at, f->bytes, 1));
}

/* The library's descriptors are not the program's: it needs none of those, and once it is
 * open none for a moment. */
static void child_runs_out_of_files(void *arg)
{
	struct family *f = arg;
	struct area args = { (uintptr_t)f->at, f->bytes };
	struct usvm_kernel kernel = { .function = add_one, .args = &args,
				      .args_bytes = sizeof(args) };
	struct usvm_queue *queue;
	struct usvm_vm *vm;
	struct usvm *gpu;
	uint64_t pages[4];
	int last, fd;

	live_fill(f->at, f->bytes, 0, 0);
	CHILD_CHECK(!usvm_open(f->live.param->spec, &gpu));
	limit_files(16);
	for (last = fd = dup(1); fd >= 0; fd = dup(1))
		last = fd;
	CHILD_CHECK(last == 15 && errno == EMFILE);
	CHILD_CHECK(!usvm_vm_create(gpu, NULL, &vm));
	CHILD_CHECK(!usvm_queue_create(vm, NULL, &queue));
	CHILD_CHECK(!usvm_run_kernel(queue, &kernel));
	CHILD_CHECK(!usvm_query_span(vm, f->at, f->bytes, pages));
	CHILD_CHECK(pages[USVM_PAGE_DEVICE] == f->bytes / LIVE_PAGE);
	close(last);
	CHILD_CHECK(live_present(f->at, f->bytes) == 0);
	limit_files(0);
	CHILD_CHECK(*(uint64_t *)f->at == live_word(0, 0) + 1);
	use_with_few_files(f, gpu);
	CHILD_CHECK(!usvm_run_kernel(queue, &kernel));
	CHILD_CHECK(*(uint64_t *)f->at == live_word(0, 0) + 2);
	CHILD_CHECK(!usvm_queue_destroy(queue));
	CHILD_CHECK(!usvm_vm_destroy(vm));
	CHILD_CHECK(!usvm_close(gpu));
	CHILD_CHECK(live_is_filled(f->at + 8, LIVE_PAGE - 8, 0, 8));
}

/* What daemons do, and programs that wish no inherited files. */
static void child_closes_all_files(void *arg)
{
	struct family *f = arg;
	struct area args = { (uintptr_t)f->at, f->bytes };
	struct usvm_kernel kernel = { .function = add_one, .args = &args,
				      .args_bytes = sizeof(args) };
	struct usvm_queue *queue;
	struct usvm_vm *vm;
	struct usvm *gpu;
	int status;
	pid_t pid;

	live_fill(f->at, f->bytes, 0, 0);
	CHILD_CHECK(!usvm_open(f->live.param->spec, &gpu));
	CHILD_CHECK(!usvm_vm_create(gpu, NULL, &vm));
	CHILD_CHECK(!usvm_queue_create(vm, NULL, &queue));
	CHILD_CHECK(!close_range(3, ~0u, 0));
	CHILD_CHECK(!usvm_run_kernel(queue, &kernel));
	CHILD_CHECK(is_on_device(vm, f->at, f->bytes));
	CHILD_CHECK(!close_range(3, ~0u, 0));
	CHILD_CHECK(*(uint64_t *)f->at == live_word(0, 0) + 1);
	CHILD_CHECK(!usvm_run_kernel(queue, &kernel));
	CHILD_CHECK(is_on_device(vm, f->at, f->bytes));
	pid = fork();
	if (pid == 0)
		_exit(*(uint64_t *)f->at == live_word(0, 0) + 2 ? 0 : 1);
	CHILD_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHILD_CHECK(!usvm_run_kernel(queue, &kernel));
	CHILD_CHECK(is_on_device(vm, f->at, f->bytes));
	CHILD_CHECK(!usvm_queue_destroy(queue));
	CHILD_CHECK(!usvm_vm_destroy(vm));
	CHILD_CHECK(!usvm_close(gpu));
	CHILD_CHECK(*(uint64_t *)f->at == live_word(0, 0) + 3);
	CHILD_CHECK(live_is_filled(f->at + 8, LIVE_PAGE - 8, 0, 8));
	CHILD_CHECK(!live_once(f->live.param->spec, f->at, f->bytes, 1));
}

/* The files of a process in /proc are those of its first thread, and end with it. */
static void *open_behind_the_first(void *arg)
{
	struct family *f = arg;
	uint64_t pages[4];
	char stat[256] = "";
	struct usvm_vm *vm;
	struct usvm *gpu;

	while (!strstr(stat, ") Z")) {
		int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);

		CHILD_CHECK(fd >= 0 && read(fd, stat, sizeof(stat) - 1) > 0);
		close(fd);
		sched_yield();
	}
	live_fill(f->at, f->bytes, 1, 0);
	CHILD_CHECK(!usvm_open(f->live.param->spec, &gpu));
	CHILD_CHECK(!usvm_vm_create(gpu, NULL, &vm));
	CHILD_CHECK(!usvm_prefetch(vm, f->at, f->bytes, USVM_PLACE_DEVICE));
	CHILD_CHECK(!usvm_query_span(vm, f->at, f->bytes, pages));
	CHILD_CHECK(pages[USVM_PAGE_DEVICE] == f->bytes / LIVE_PAGE);
	CHILD_CHECK(live_is_filled(f->at, f->bytes, 1, 0));
	_exit(0);
}

static void child_ends_its_first_thread(void *arg)
{
	pthread_t thread;

	CHILD_CHECK(!pthread_create(&thread, NULL, open_behind_the_first, arg));
	pthread_exit(NULL);
}

/* Who may not look at its own /proc cannot have a device, and is told. */
static void child_is_not_dumpable(void *arg)
{
	struct family *f = arg;
	struct usvm *gpu = NULL;

	/* Root looks all the same. */
	CHILD_CHECK(geteuid() || !setresuid(65534, 65534, 65534));
	CHILD_CHECK(!prctl(PR_SET_DUMPABLE, 0));
	CHILD_CHECK(usvm_open(f->live.param->spec, &gpu) == -EACCES);
	CHILD_CHECK(!gpu);
	CHILD_CHECK(!prctl(PR_SET_DUMPABLE, 1));
	CHILD_CHECK(!usvm_open(f->live.param->spec, &gpu));
	CHILD_CHECK(!usvm_close(gpu));
}

static void in_a_child(const struct live_param *param, void (*run)(void *arg))
{
	struct family f = { .live = { .param = param }, .bytes = 16 * LIVE_PAGE };

	live_guard(__func__, 30);
	f.at = live_map(&f.live, f.bytes);
	live_child(plain_fork, run, &f);
	munmap(f.at, f.bytes);
}

static void few_descriptors_are_enough_or_said_to_be_too_few(void **state)
{
	in_a_child(*state, child_is_short_of_files);
}

static void a_process_that_is_not_dumpable_is_told(void **state)
{
	in_a_child(*state, child_is_not_dumpable);
}

static void the_programs_descriptors_are_not_needed(void **state)
{
	in_a_child(*state, child_runs_out_of_files);
}

static void close_range_does_not_hurt(void **state)
{
	in_a_child(*state, child_closes_all_files);
}

static void the_first_thread_may_have_ended(void **state)
{
	in_a_child(*state, child_ends_its_first_thread);
}

/* These open on their own. */
#define ENTRY(f, what, param) { #f what, f, NULL, NULL, (void *)(uintptr_t)(param) }
#define ENTRY_MODES(f) ENTRY(f, " [move]", &live_move), ENTRY(f, " [copy]", &live_copy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ENTRY(a_thousand_lives_leave_nothing, "", NULL),
		ENTRY(an_open_device_without_work_does_nothing, "", NULL),
		ENTRY(the_second_device_sees_what_the_first_wrote, "", NULL),
		ENTRY(two_devices_and_the_cpu_lose_no_update, "", NULL),
		ENTRY(threads_open_and_close_at_the_same_time, "", NULL),
		ENTRY_MODES(close_brings_everything_home),
		ENTRY(close_brings_everything_home, " [move, huge]", &live_move_huge),
		ENTRY(close_brings_everything_home, " [copy, huge]", &live_copy_huge),
		ENTRY(the_environment_names_the_device, "", NULL),
		ENTRY_MODES(a_child_has_devices_of_its_own),
		ENTRY_MODES(few_descriptors_are_enough_or_said_to_be_too_few),
		ENTRY_MODES(a_process_that_is_not_dumpable_is_told),
		ENTRY_MODES(the_first_thread_may_have_ended),
		ENTRY_MODES(the_programs_descriptors_are_not_needed),
		ENTRY_MODES(close_range_does_not_hurt),
	};

	return LIVE_RUN(tests);
}
