/* SPDX-License-Identifier: MIT */
/*
 * A raw clone() or _Fork() of a process whose pages are on the device: section G.
 *
 * No hook of the C library sees it. The kernel tells of the child; what the device has
 * is copied into it, while the parent's pages stay where they are. Where the kernel may
 * not tell (USVM_FEATURES=-event_fork), the child gets SIGSEGV there: never zeros.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live/support/live.h"

struct area {
	struct live *live;
	unsigned char *at;
	size_t bytes;
};

static bool has_fork_events(struct live *live)
{
	struct usvm_device_info info;

	assert_int_equal(usvm_device_info(live->gpu, &info), 0);
	return info.fork_events;
}

/* The parent's memory is not there at all, which is tested below. */
static void skip_without_events(void)
{
	printf("SKIP: no fork events\n");
	skip();
}

static pid_t bare_fork(void)
{
	return _Fork();
}

/* @run in a child; where no event tells of children, it may die of SIGSEGV instead. */
static void in_child(struct area *a, pid_t (*make)(void), void (*run)(void *arg))
{
	pid_t pid;
	int status;

	if (has_fork_events(a->live)) {
		live_child(make, run, a);
		return;
	}
	pid = make();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		run(a);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV));
}

static struct area on_device(struct live *live)
{
	struct area a = { live, NULL, live_bytes(live) };

	a.at = live_on_device(live, a.bytes, 1);
	return a;
}

static void child_reads(void *arg)
{
	struct area *a = arg;

	CHILD_CHECK(live_is_filled(a->at, a->bytes, 1, 0));
	live_fill(a->at, a->bytes, 2, 0);
	CHILD_CHECK(live_is_filled(a->at, a->bytes, 2, 0));
}

/* G: the child reads what the parent had, by _Fork() and by clone(). */
static void a_clone_reads_what_the_parent_had(void **state)
{
	struct live *live = *state;
	struct area a = on_device(live);
	struct live_counts before = live_counts(live);

	in_child(&a, live_clone, child_reads);
	in_child(&a, bare_fork, child_reads);
	live_assert_state(live, a.at, a.bytes, LIVE_DEVICE);
	live_assert_counts(live, before, 0, 0);
	gpu_assert_filled(live, a.at, a.bytes, 1, 0);
	live_assert_filled(a.at, a.bytes, 1, 0);
}

static void child_unmaps(void *arg)
{
	struct area *a = arg;
	size_t part = a->bytes / 4;

	CHILD_CHECK(munmap(a->at + part, part) == 0);
	CHILD_CHECK(live_is_filled(a->at, part, 1, 0));
	CHILD_CHECK(live_is_filled(a->at + 2 * part, 2 * part, 1, 2 * part));
}

/* The child has its first instructions behind it when pages still arrive. */
static void child_remaps(void *arg)
{
	struct area *a = arg;
	unsigned char *room = mmap(NULL, a->bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
				   0);

	CHILD_CHECK(mremap(a->at, a->bytes, a->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, room) ==
		    room);
	CHILD_CHECK(live_is_filled(room, a->bytes, 1, 0));
}

static void child_discards(void *arg)
{
	struct area *a = arg;
	size_t part = a->bytes / 4;

	CHILD_CHECK(madvise(a->at, part, MADV_DONTNEED) == 0);
	CHILD_CHECK(live_is_zero(a->at, part));
	CHILD_CHECK(live_is_filled(a->at + part, 3 * part, 1, part));
}

static void child_maps_over(void *arg)
{
	struct area *a = arg;
	size_t part = a->bytes / 4;

	CHILD_CHECK(mmap(a->at + part, part, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == a->at + part);
	CHILD_CHECK(live_is_zero(a->at + part, part));
	CHILD_CHECK(live_is_filled(a->at, part, 1, 0));
	live_fill(a->at + part, part, 3, 0);
	CHILD_CHECK(live_is_filled(a->at + part, part, 3, 0));
	CHILD_CHECK(live_is_filled(a->at + 2 * part, 2 * part, 1, 2 * part));
}

/* A15: a child changes its address space while the pages are copied into it. */
static void a_clone_changes_its_mappings_at_once(void **state)
{
	static void (*const runs[])(void *) = { child_unmaps, child_remaps, child_discards,
						child_maps_over };
	struct live *live = *state;
	struct area a = on_device(live);

	if (!has_fork_events(live))
		skip_without_events();
	for (int round = 0; round < 4; round++) {
		for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
			in_child(&a, live_clone, runs[i]);
	}
	live_assert_state(live, a.at, a.bytes, LIVE_DEVICE);
	live_assert_filled(a.at, a.bytes, 1, 0);
}

static void child_clones(void *arg)
{
	struct area *a = arg;
	pid_t pid = live_clone();
	int status;

	if (pid == 0) {
		pid_t grandchild = live_clone();

		if (grandchild == 0) {
			child_reads(a);
			_exit(0);
		}
		CHILD_CHECK(waitpid(grandchild, &status, 0) == grandchild && status == 0);
		child_reads(a);
		_exit(0);
	}
	CHILD_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	child_reads(a);
}

/* G: nested: the child's child has what the parent had. */
static void clones_of_clones_read_it_too(void **state)
{
	struct live *live = *state;
	struct area a = on_device(live);

	if (has_fork_events(live)) {
		for (int i = 0; i < 10; i++)
			live_child(live_clone, child_clones, &a);
	}
	live_assert_state(live, a.at, a.bytes, LIVE_DEVICE);
	live_assert_filled(a.at, a.bytes, 1, 0);
}

static void child_ends(void *arg)
{
	(void)arg;
}

static void child_execs(void *arg)
{
	(void)arg;
	execl("/bin/true", "true", (char *)NULL);
	_exit(1);
}

static void child_kills_itself(void *arg)
{
	(void)arg;
	raise(SIGKILL);
}

/* U-37: a child that is dead before its pages arrive. */
static void a_dead_clone_costs_nothing(void **state)
{
	struct live *live = *state;
	struct area a = on_device(live);
	pid_t pid;

	for (int i = 0; i < 50; i++) {
		live_child(live_clone, i % 2 ? child_ends : child_execs, &a);
		pid = live_clone();
		if (pid == 0)
			child_kills_itself(&a);
		live_wait_signal(pid, SIGKILL);
	}
	live_assert_state(live, a.at, a.bytes, LIVE_DEVICE);
	gpu_assert_filled(live, a.at, a.bytes, 1, 0);
	live_assert_filled(a.at, a.bytes, 1, 0);
}

static void child_uses_usvm(void *arg)
{
	struct area *a = arg;
	struct usvm *gpu;
	struct usvm_vm *vm;
	uint64_t pages[4];

	CHILD_CHECK(usvm_vm_destroy(a->live->vm) == -ECHILD);
	CHILD_CHECK(usvm_open("model:vram=16M", &gpu) == 0);
	CHILD_CHECK(usvm_vm_create(gpu, NULL, &vm) == 0);
	do {
		CHILD_CHECK(usvm_prefetch(vm, a->at, a->bytes, USVM_PLACE_DEVICE) == 0);
		CHILD_CHECK(usvm_query_span(vm, a->at, a->bytes, pages) == 0);
	} while (pages[USVM_PAGE_DEVICE] != a->bytes / LIVE_PAGE);
	CHILD_CHECK(live_is_filled(a->at, a->bytes, 1, 0));
	CHILD_CHECK(usvm_vm_destroy(vm) == 0);
	CHILD_CHECK(usvm_close(gpu) == 0);
	CHILD_CHECK(live_is_filled(a->at, a->bytes, 1, 0));
}

/* T7: memory of the child can be taken as soon as the parent closed the child's
 * userfaultfd. A child that nobody told of must find out by itself that it is one. */
static void a_clone_opens_a_device_of_its_own(void **state)
{
	struct live *live = *state;
	struct area a = on_device(live);

	if (!has_fork_events(live))
		skip_without_events();
	for (int i = 0; i < 5; i++) {
		in_child(&a, live_clone, child_uses_usvm);
		in_child(&a, bare_fork, child_uses_usvm);
	}
	live_assert_filled(a.at, a.bytes, 1, 0);
}

static void child_reads_advised(void *arg)
{
	struct area *a = arg;
	size_t part = a->bytes / 4;

	CHILD_CHECK(live_is_filled(a->at, part, 1, 0));
	CHILD_CHECK(live_is_zero(a->at + part, part)); /* WIPEONFORK */
	CHILD_CHECK(msync(a->at + 2 * part, part, MS_ASYNC) == -1 && errno == ENOMEM);
	CHILD_CHECK(live_is_filled(a->at + 3 * part, part, 1, 3 * part));
}

/* G, U-36: WIPEONFORK memory of the child is registered too, and must get zeros. */
static void advice_about_fork_is_kept(void **state)
{
	struct live *live = *state;
	struct area a = on_device(live);
	size_t part = a.bytes / 4;

	assert_int_equal(madvise(a.at + part, part, MADV_WIPEONFORK), 0);
	assert_int_equal(madvise(a.at + 2 * part, part, MADV_DONTFORK), 0);
	in_child(&a, live_clone, child_reads_advised);
	live_assert_state(live, a.at, a.bytes, LIVE_DEVICE);
	live_assert_filled(a.at, a.bytes, 1, 0);
}

static void child_reads_a_copy(void *arg)
{
	struct area *a = arg;
	volatile uint64_t *word = (uint64_t *)(void *)a->at;
	uint64_t first = word[0];

	for (size_t i = 0; i < a->bytes / LIVE_PAGE; i++) {
		uint64_t value = word[i * 512];

		/* The GPU adds to the pages in turn: at most one round apart. */
		CHILD_CHECK(value == first || value + 1 == first);
		CHILD_CHECK(word[i * 512 + 1] == live_word(1, i * 512 + 1));
	}
	CHILD_CHECK(word[0] == first);
}

/* The GPU stores while the child is made: its pages are of one instant. */
static void a_clone_is_a_snapshot_of_device_pages(void **state)
{
	struct live *live = *state;
	struct area a = on_device(live);
	struct usvm_fence *fence;

	for (size_t i = 0; i < a.bytes; i += LIVE_PAGE)
		*(uint64_t *)(void *)(a.at + i) = 0;
	live_take(live, a.at, a.bytes);
	live_assert_state(live, a.at, a.bytes, LIVE_DEVICE);
	fence = gpu_start_add(live, NULL, a.at, LIVE_PAGE, a.bytes / LIVE_PAGE, 20000);
	for (int i = 0; i < 20; i++)
		in_child(&a, live_clone, child_reads_a_copy);
	gpu_finish(fence);
	assert_int_equal(*(uint64_t *)(void *)a.at, 20000);
}

/* The parent's descriptor in a child would act on the parent's memory. */
static void child_looks_for_userfaultfds(void *arg)
{
	(void)arg;
	for (int fd = 0; fd < 1024; fd++) {
		char path[64], name[64] = "";

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, name, sizeof(name) - 1) > 0)
			CHILD_CHECK(!strstr(name, "userfaultfd"));
	}
}

/* G: neither the program nor a child of it has a userfaultfd of usvm's. */
static void no_child_has_the_userfaultfd(void **state)
{
	struct live *live = *state;
	struct area a = on_device(live);

	child_looks_for_userfaultfds(NULL);
	in_child(&a, live_clone, child_looks_for_userfaultfds);
	live_child(live_fork, child_looks_for_userfaultfds, NULL);
	gpu_assert_filled(live, a.at, a.bytes, 1, 0);
	live_assert_filled(a.at, a.bytes, 1, 0);
}

/* In a child with a device of its own: a child of it that outlives it, and says to @said
 * what it reads then. An alarm ends what hangs. */
static void leave_a_child(struct area *a, const char *spec, bool killed, int said)
{
	struct usvm *gpu;
	struct usvm_vm *vm;
	struct usvm_page_info info;
	uint64_t pages[4];
	pid_t parent = getpid();

	CHILD_CHECK(usvm_open(spec, &gpu) == 0);
	CHILD_CHECK(usvm_vm_create(gpu, NULL, &vm) == 0);
	do {
		CHILD_CHECK(usvm_prefetch(vm, a->at, a->bytes, USVM_PLACE_DEVICE) == 0);
		CHILD_CHECK(usvm_query_span(vm, a->at, a->bytes, pages) == 0);
	} while (pages[USVM_PAGE_DEVICE] != a->bytes / LIVE_PAGE);
	if (_Fork() == 0) {
		signal(SIGSEGV, SIG_DFL);
		alarm(15);
		while (getppid() == parent)
			sched_yield();
		_exit(write(said, live_is_filled(a->at, a->bytes, 1, 0) ? "y" : "n", 1) != 1);
	}
	/* A query has its turn when the child has everything. */
	CHILD_CHECK(usvm_query(vm, a->at, &info) == 0);
	if (killed)
		raise(SIGKILL);
	_exit(0);
}

/* G, T12: a child whose parent is dead has what the parent had: there is nobody left who
 * could answer its faults. Without fork events it may die instead. */
static void a_clone_outlives_its_parent(void **state)
{
	struct live *live = *state;
	struct area a = { live, NULL, live_bytes(live) };

	a.at = live_filled(live, a.bytes, 1);
	for (int i = 0; i < 4; i++) {
		int ends[2];
		ssize_t got;
		char said = 0;
		pid_t pid;

		assert_int_equal(pipe(ends), 0);
		pid = live_fork();
		if (pid == 0)
			leave_a_child(&a, live->param->spec, i % 2, ends[1]);
		close(ends[1]);
		if (i % 2)
			live_wait_signal(pid, SIGKILL);
		else
			live_wait_exit(pid, 0);
		got = read(ends[0], &said, 1);
		assert_true(got == 1 ? said == 'y' : !has_fork_events(live));
		close(ends[0]);
	}
	live_take(live, a.at, a.bytes);
	live_assert_state(live, a.at, a.bytes, LIVE_DEVICE);
	live_assert_filled(a.at, a.bytes, 1, 0);
}

static void child_reads_or_dies(void *arg)
{
	struct area *a = arg;

	/* A SIGSEGV ends it here, and is right. Zeros are not. */
	CHILD_CHECK(live_is_filled(a->at, a->bytes, 1, 0));
}

static char *features_before;

/* The mask is read when the first device is opened. */
static int setup_without_events(void **state)
{
	const char *old = getenv("USVM_FEATURES");
	char features[128];

	features_before = old ? strdup(old) : NULL;
	snprintf(features, sizeof(features), "%s%s-event_fork", old ? old : "",
		 old && *old ? "," : "");
	setenv("USVM_FEATURES", features, 1);
	return live_setup(state);
}

static int teardown_without_events(void **state)
{
	if (features_before)
		setenv("USVM_FEATURES", features_before, 1);
	else
		unsetenv("USVM_FEATURES");
	free(features_before);
	return live_teardown(state);
}

/* G: where no event tells of the child. */
static void without_fork_events_a_clone_never_reads_zeros(void **state)
{
	struct live *live = *state;
	struct area a = on_device(live);

	assert_false(has_fork_events(live));
	for (int i = 0; i < 3; i++) {
		in_child(&a, live_clone, child_reads_or_dies);
		in_child(&a, bare_fork, child_reads_or_dies);
	}
	live_assert_state(live, a.at, a.bytes, LIVE_DEVICE);
	live_child(live_fork, child_reads, &a); /* the gate works as ever */
	live_assert_state(live, a.at, a.bytes, LIVE_HOME);
	live_assert_filled(a.at, a.bytes, 1, 0);
}

#define TEST_WITHOUT_EVENTS(param)                                                     \
	{                                                                              \
		"without_fork_events_a_clone_never_reads_zeros " #param,               \
		without_fork_events_a_clone_never_reads_zeros, setup_without_events,   \
		teardown_without_events, (void *)(uintptr_t)&(param)                   \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_ALL(a_clone_reads_what_the_parent_had),
		LIVE_TEST_ALL(a_clone_changes_its_mappings_at_once),
		LIVE_TEST_ALL(clones_of_clones_read_it_too),
		LIVE_TEST_MODES(a_dead_clone_costs_nothing),
		LIVE_TEST_ALL(a_clone_opens_a_device_of_its_own),
		LIVE_TEST_ALL(advice_about_fork_is_kept),
		LIVE_TEST_MODES(a_clone_is_a_snapshot_of_device_pages),
		LIVE_TEST_MODES(no_child_has_the_userfaultfd),
		LIVE_TEST_ALL(a_clone_outlives_its_parent),
		TEST_WITHOUT_EVENTS(live_move),
		TEST_WITHOUT_EVENTS(live_copy),
		TEST_WITHOUT_EVENTS(live_move_huge),
		TEST_WITHOUT_EVENTS(live_copy_huge),
	};

	return LIVE_RUN(tests);
}
