/* SPDX-License-Identifier: MIT */
/*
 * What a thread may hold while it waits for a page, and who else wants that: section M,
 * laws 2, 3, 14 and 15. Pipes, files, streams, the heap, fork(), descriptors, signals.
 *
 * Each test has pages that go to the device over and over, threads that touch them with
 * a lock of the kernel or the C library held, and others that want the lock. The guard
 * tells which test hung. See deadlocks_threads_test.c for threads and usvm's own calls.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "live/support/storm.h"

#define ROUNDS 8
#define PIPE_BYTES 65536

/* --- two threads write pages of the device to one place ------------------------ */

struct writer {
	const unsigned char *at;
	size_t bytes;
	int fd;
	FILE *stream; /* NULL: fd */
};

static void *write_pages(void *arg)
{
	const struct writer *w = arg;

	for (int round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < w->bytes; i += LIVE_PAGE) {
			if (w->stream)
				THREAD_CHECK(fwrite(w->at + i, LIVE_PAGE, 1, w->stream) ==
					     1);
			else
				THREAD_CHECK(write(w->fd, w->at + i, LIVE_PAGE) ==
					     LIVE_PAGE);
		}
	}
	return NULL;
}

static void *write_pages_of_two(void *arg)
{
	struct writer *writers = arg;

	storm_threads(write_pages, writers, sizeof(*writers), 2);
	if (writers->stream)
		fclose(writers->stream);
	else if (writers->fd >= 0)
		close(writers->fd);
	return NULL;
}

/* Pages of seed 1 and of seed 2, each in order, mixed as it happened. */
static void assert_pages(int fd, size_t bytes)
{
	unsigned char *page = malloc(LIVE_PAGE);
	size_t next[2] = { 0, 0 };

	for (;;) {
		ssize_t got = read(fd, page, LIVE_PAGE);
		int who;

		if (got == 0)
			break;
		assert_int_equal(got, LIVE_PAGE);
		who = !live_is_filled(page, LIVE_PAGE, 1, next[0] % bytes);
		live_assert_filled(page, LIVE_PAGE, (uint64_t)who + 1, next[who] % bytes);
		next[who] += LIVE_PAGE;
	}
	assert_int_equal(next[0], ROUNDS * bytes);
	assert_int_equal(next[1], ROUNDS * bytes);
	free(page);
}

/* Both areas, on the device. */
static unsigned char *two_areas(struct live *live)
{
	size_t bytes = live_bytes(live);
	unsigned char *at = live_filled(live, bytes, 1);

	live_fill(at + bytes / 2, bytes / 2, 2, 0);
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	return at;
}

static void assert_two_areas(const unsigned char *at, size_t bytes)
{
	live_assert_filled(at, bytes / 2, 1, 0);
	live_assert_filled(at + bytes / 2, bytes / 2, 2, 0);
}

/* M: the kernel's lock of the pipe is held by the thread that waits for its page. */
static void two_threads_write_to_a_pipe(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), half = bytes / 2;
	unsigned char *at = two_areas(live);
	struct live_thread *thread;
	struct storm *storm;
	int ends[2];

	storm_name(live, __func__);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	storm = storm_start(live, at, bytes);
	thread = live_thread_start(
		write_pages_of_two,
		(struct writer[]){ { at, half, ends[1], NULL },
				   { at + half, half, ends[1], NULL } });
	assert_pages(ends[0], half);
	live_thread_join(thread);
	storm_stop(storm);
	close(ends[0]);
	assert_two_areas(at, bytes);
}

/* M: the inode's lock. */
static void two_threads_write_to_a_file(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), half = bytes / 2;
	unsigned char *at = two_areas(live);
	FILE *file = tmpfile();
	struct storm *storm;
	int fd;

	storm_name(live, __func__);
	assert_non_null(file);
	fd = dup(fileno(file));
	assert_int_equal(fcntl(fd, F_SETFL, O_APPEND), 0);
	storm = storm_start(live, at, bytes);
	write_pages_of_two((struct writer[]){ { at, half, fd, NULL },
					      { at + half, half, fd, NULL } });
	storm_stop(storm);
	assert_int_equal(lseek(fileno(file), 0, SEEK_SET), 0);
	assert_pages(fileno(file), half);
	fclose(file);
	assert_two_areas(at, bytes);
}

/* M: the lock of a FILE, whose buffer is on the device as well. */
static void two_threads_write_to_a_stream(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), half = bytes / 2;
	unsigned char *at = two_areas(live), *buffer = live_on_device(live, bytes, 3);
	FILE *file = tmpfile(), *stream;
	struct storm *storm, *other;

	storm_name(live, __func__);
	assert_non_null(file);
	stream = fdopen(dup(fileno(file)), "w");
	assert_non_null(stream);
	assert_int_equal(setvbuf(stream, (char *)buffer, _IOFBF, 3 * LIVE_PAGE), 0);
	storm = storm_start(live, at, bytes);
	other = storm_start(live, buffer, bytes);
	write_pages_of_two((struct writer[]){ { at, half, -1, stream },
					      { at + half, half, -1, stream } });
	storm_stop(other);
	storm_stop(storm);
	assert_int_equal(lseek(fileno(file), 0, SEEK_SET), 0);
	assert_pages(fileno(file), half);
	fclose(file);
	assert_two_areas(at, bytes);
	live_assert_filled(buffer + 4 * LIVE_PAGE, LIVE_PAGE, 3, 4 * LIVE_PAGE);
}

/* A writer that sleeps because the pipe is full holds nothing; its buffer comes and goes. */
static void *write_all(void *arg)
{
	const struct writer *w = arg;

	THREAD_CHECK(write(w->fd, w->at, w->bytes) == (ssize_t)w->bytes);
	close(w->fd);
	return NULL;
}

static void wait_full(int fd)
{
	int filled;

	do {
		sched_yield();
		assert_int_equal(ioctl(fd, FIONREAD, &filled), 0);
	} while (filled != PIPE_BYTES);
}

static void a_full_pipe_keeps_no_page(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	struct writer writer = { live_on_device(live, bytes, 1), bytes, -1, NULL };
	unsigned char *page = malloc(LIVE_PAGE);
	struct live_thread *thread;
	int ends[2];

	storm_name(live, __func__);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	writer.fd = ends[1];
	thread = live_thread_start(write_all, &writer);
	for (size_t done = 0; done < bytes; done += LIVE_PAGE) {
		if (done + PIPE_BYTES < bytes && done % (4 * LIVE_PAGE) == 0) {
			wait_full(ends[0]);
			live_thread_wait_blocked(thread, SYS_write);
			live_take(live, (void *)(uintptr_t)writer.at, bytes);
			live_assert_state(live, writer.at, bytes, LIVE_DEVICE);
		}
		for (size_t part = 0; part < LIVE_PAGE;) {
			ssize_t got = read(ends[0], page + part, LIVE_PAGE - part);

			assert_true(got > 0);
			part += (size_t)got;
		}
		live_assert_filled(page, LIVE_PAGE, 1, done);
	}
	live_thread_join(thread);
	close(ends[0]);
	free(page);
	live_assert_filled(writer.at, bytes, 1, 0);
}

/* --- the heap ---------------- */

#define HEAP_THREADS 4
#define BLOCKS 32

struct heap {
	uint64_t random;
	uint32_t *stop; /* atomic; NULL: after @turns */
	int turns;
	uintptr_t *newest; /* atomic */
	unsigned char *blocks[BLOCKS];
	size_t bytes[BLOCKS];
};

static uint64_t *last_word(unsigned char *block, size_t bytes)
{
	return (uint64_t *)(void *)(block + (bytes - 8) / 8 * 8);
}

static void mark_block(struct heap *heap, int i)
{
	*(uint64_t *)(void *)heap->blocks[i] = live_word(7, heap->bytes[i]);
	*last_word(heap->blocks[i], heap->bytes[i]) = live_word(7, heap->bytes[i]);
	__atomic_store_n(heap->newest, (uintptr_t)heap->blocks[i], __ATOMIC_RELEASE);
}

static void check_block(struct heap *heap, int i)
{
	THREAD_CHECK(*(uint64_t *)(void *)heap->blocks[i] ==
		     live_word(7, heap->bytes[i]));
	THREAD_CHECK(*last_word(heap->blocks[i], heap->bytes[i]) ==
		     live_word(7, heap->bytes[i]));
}

static void free_block(struct heap *heap, int i)
{
	check_block(heap, i);
	free(heap->blocks[i]);
	heap->blocks[i] = NULL;
}

static void turn_heap(struct heap *heap)
{
	uint64_t random = storm_random(&heap->random);
	size_t bytes = 16 + random / 64 % (96 << 10);
	int i = (int)(random % BLOCKS);

	if (heap->blocks[i] && random & 1 << 10) {
		free_block(heap, i);
		return;
	}
	if (heap->blocks[i])
		check_block(heap, i);
	heap->blocks[i] = realloc(heap->blocks[i], bytes);
	THREAD_CHECK(heap->blocks[i]);
	heap->bytes[i] = bytes;
	mark_block(heap, i);
}

static void *use_heap(void *arg)
{
	struct heap *heap = arg;

	for (int turn = 0; heap->stop ? !__atomic_load_n(heap->stop, __ATOMIC_ACQUIRE) :
					turn < heap->turns;
	     turn++)
		turn_heap(heap);
	for (int i = 0; i < BLOCKS; i++) {
		if (heap->blocks[i])
			free_block(heap, i);
	}
	return NULL;
}

/* One heap for all, that shrinks whenever it can: free() unmaps with the heap's lock held. */
static void one_heap(void)
{
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_TRIM_THRESHOLD, (int)LIVE_PAGE);
	mallopt(M_TOP_PAD, 0);
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
}

/* A block of the heap that is on the device but for its edges. @heap_live is in the heap
 * itself: a look at it would bring home what is around it. */
static uint64_t *heap_on_device(const struct live *heap_live, size_t bytes)
{
	struct live own = *heap_live, *live = &own;
	unsigned char *block = malloc(bytes);
	unsigned char *first =
		(void *)(((uintptr_t)block + 2 * LIVE_PAGE) & ~(LIVE_PAGE - 1));

	assert_non_null(block);
	live_fill(block, bytes, 5, 0);
	assert_int_equal(usvm_prefetch(live->vm, block, bytes, USVM_PLACE_DEVICE), 0);
	live_assert_state(live, first, bytes - 4 * LIVE_PAGE, LIVE_DEVICE);
	return (uint64_t *)(void *)block;
}

static void start_heaps(struct heap *heaps, uintptr_t *newest, uint32_t *stop)
{
	for (size_t i = 0; i < HEAP_THREADS; i++)
		heaps[i] = (struct heap){
			.random = i, .stop = stop, .turns = 1500, .newest = &newest[i]
		};
}

/* M, law 3: malloc, realloc and free in four threads, with the heap on the device. */
static void the_heap_is_used_while_it_moves(void **state)
{
	static uintptr_t newest[HEAP_THREADS + 1];
	struct live *live = *state;
	struct heap heaps[HEAP_THREADS];
	size_t bytes = 256 << 10;
	struct storm *storm;
	uint64_t *block;

	storm_name(live, __func__);
	one_heap();
	block = heap_on_device(live, bytes);
	memset(newest, 0, sizeof(newest));
	newest[HEAP_THREADS] = (uintptr_t)block + LIVE_PAGE;
	start_heaps(heaps, newest, NULL);
	storm = storm_follow(live, newest, HEAP_THREADS + 1);
	storm_threads(use_heap, heaps, sizeof(heaps[0]), HEAP_THREADS);
	live_assert_filled(block, bytes, 5, 0);
	storm_stop(storm);
	free(block);
	malloc_trim(0);
}

static void child_uses_heap(void *arg)
{
	unsigned char *more = malloc(100000);

	CHILD_CHECK(more);
	memset(more, 1, 100000);
	free(more);
	CHILD_CHECK(live_is_filled(arg, 256 << 10, 5, 0));
}

static pid_t plain_fork(void)
{
	return fork();
}

/* M: fork() waits with the locks of heap and streams held. */
static void fork_while_others_use_the_heap(void **state)
{
	static uintptr_t newest[HEAP_THREADS];
	struct live *live = *state;
	struct heap heaps[HEAP_THREADS];
	struct live_thread *threads[HEAP_THREADS];
	size_t bytes = 256 << 10;
	uint32_t stop = 0;
	struct storm *storm;
	uint64_t *block;

	storm_name(live, __func__);
	one_heap();
	block = heap_on_device(live, bytes);
	memset(newest, 0, sizeof(newest));
	start_heaps(heaps, newest, &stop);
	storm = storm_follow(live, newest, HEAP_THREADS);
	for (size_t i = 0; i < HEAP_THREADS; i++)
		threads[i] = live_thread_start(use_heap, &heaps[i]);
	for (int i = 0; i < 10; i++) {
		usvm_prefetch(live->vm, block, bytes, USVM_PLACE_DEVICE);
		live_child(plain_fork, child_uses_heap, block);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (size_t i = 0; i < HEAP_THREADS; i++)
		live_thread_join(threads[i]);
	storm_stop(storm);
	live_assert_filled(block, bytes, 5, 0);
	free(block);
}

/* --- streams from several threads ---------------- */

struct printer {
	FILE *stream;
	int number;
};

static void *print_lines(void *arg)
{
	const struct printer *p = arg;

	for (int i = 0; i < 400; i++) {
		FILE *own = fopen("/dev/null", "w");

		THREAD_CHECK(own);
		THREAD_CHECK(fprintf(own, "%d\n", i) > 0);
		THREAD_CHECK(fprintf(p->stream, "%d %d\n", p->number, i) > 0);
		THREAD_CHECK(fclose(own) == 0);
	}
	return NULL;
}

/* Streams and their buffers are in the heap. */
static void threads_print_from_a_heap_that_moves(void **state)
{
	struct live *live = *state;
	struct printer printers[4];
	size_t bytes = 256 << 10;
	FILE *file = tmpfile();
	int next[4] = { 0 }, who, line;
	struct storm *storm;
	uint64_t *block;

	storm_name(live, __func__);
	one_heap();
	block = heap_on_device(live, bytes);
	setvbuf(file, (char *)block + 8 * LIVE_PAGE, _IOFBF, LIVE_PAGE);
	storm = storm_start(live, block, bytes);
	for (int i = 0; i < 4; i++)
		printers[i] = (struct printer){ file, i };
	storm_threads(print_lines, printers, sizeof(printers[0]), 4);
	storm_stop(storm);
	rewind(file);
	while (fscanf(file, "%d %d", &who, &line) == 2) {
		assert_in_range(who, 0, 3);
		assert_int_equal(line, next[who]);
		next[who]++;
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(next[i], 400);
	fclose(file);
	live_assert_filled(block, 8 * LIVE_PAGE, 5, 0);
	free(block);
}

/* --- descriptors ---------------- */

/* T11: no thread of the library keeps an end of the program's pipes open. */
static void a_reader_sees_the_end_of_a_pipe(void **state)
{
	struct live *live = *state;
	const struct live_param *param = live->param;
	unsigned char *at;
	int before[2], after[2];
	char c;

	storm_name(live, __func__);
	live_close(live);
	assert_int_equal(pipe2(before, O_CLOEXEC), 0);
	live_open(live, param, param->spec);
	assert_int_equal(pipe2(after, O_CLOEXEC), 0);
	at = live_on_device(live, live_bytes(live), 1);
	assert_int_equal(close(before[1]) | close(after[1]), 0);
	assert_int_equal(read(before[0], &c, 1), 0);
	assert_int_equal(read(after[0], &c, 1), 0);
	close(before[0]);
	close(after[0]);
	live_assert_filled(at, live_bytes(live), 1, 0);
}

/* U-56: the program closes every descriptor there is. */
static void closing_every_descriptor_hurts_nothing(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1);

	storm_name(live, __func__);
	assert_int_equal(syscall(SYS_close_range, 3, ~0u, 0), 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	live_assert_filled(at, bytes / 2, 1, 0);
	gpu_fill(live, at, bytes, 2, 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	assert_int_equal(munmap(at + bytes / 2, bytes / 2), 0);
	live_assert_state(live, at + bytes / 2, bytes / 2, LIVE_UNMAPPED);
	live_assert_filled(at, bytes / 2, 2, 0);
	live_on_device(live, bytes, 3);
}

/* --- signals ---------------- */

static struct {
	const unsigned char *at; /* what the handler looks at */
	size_t bytes;
	volatile uint64_t count;
	volatile uint64_t wrong;
} alarms;

static void look_at_memory(int number)
{
	(void)number;
	for (size_t i = 0; i < alarms.bytes; i += LIVE_PAGE)
		alarms.wrong += !live_is_filled(alarms.at + i, 64, 1, i);
	alarms.count++;
}

static void set_alarms(struct sigaction *before, unsigned char *at, size_t bytes,
		       int interval_us)
{
	struct sigaction action = { .sa_handler = look_at_memory,
				    .sa_flags = SA_RESTART };
	struct itimerval often = { { 0, interval_us }, { 0, interval_us } };

	alarms.at = at;
	alarms.bytes = bytes;
	alarms.count = 0;
	alarms.wrong = 0;
	assert_int_equal(sigaction(SIGALRM, &action, before), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
}

static void end_alarms(const struct sigaction *before)
{
	const struct itimerval never = { 0 };

	setitimer(ITIMER_REAL, &never, NULL);
	signal(SIGALRM, SIG_IGN); /* one that is under way ends here */
	sigaction(SIGALRM, before, NULL);
	assert_int_equal(alarms.wrong, 0);
}

/* A handler that interrupts a thread in a fault, and faults. */
static void a_handler_touches_pages_on_the_device(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1),
		      *own = live_on_device(live, bytes, 4);
	struct storm *storm, *other;
	struct sigaction before;

	storm_name(live, __func__);
	storm = storm_start(live, at, bytes);
	other = storm_start(live, own, bytes);
	set_alarms(&before, at, bytes, 2000);
	while (alarms.count < 20)
		live_assert_filled(own, bytes, 4, 0);
	end_alarms(&before);
	storm_stop(other);
	storm_stop(storm);
	live_assert_filled(at, bytes, 1, 0);
}

/* As a profiler does: a timer far too fast, while the thread faults, unmaps and calls. */
static void a_storm_of_timers_stops_nothing(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1);
	struct sigaction before;

	storm_name(live, __func__);
	set_alarms(&before, NULL, 0, 300);
	for (int i = 0; i < 10 || alarms.count < 100; i++) {
		unsigned char *more = live_on_device(live, bytes, 6);

		live_take(live, at, bytes);
		live_assert_state(live, at, bytes, LIVE_DEVICE);
		live_assert_filled(at, bytes, 1, 0);
		assert_int_equal(madvise(more, bytes / 2, MADV_DONTNEED), 0);
		live_assert_zero(more, bytes / 2);
		live_assert_filled(more + bytes / 2, bytes / 2, 6, bytes / 2);
		assert_int_equal(munmap(more, bytes), 0);
	}
	end_alarms(&before);
}

/* --- SIGSEGV of the program's own ---------------- */

static sigjmp_buf landing;
static volatile pid_t landing_thread;
static volatile uint64_t landings;

static void leave_by_jump(int number)
{
	(void)number;
	if (landing_thread != (pid_t)syscall(SYS_gettid))
		_exit(3); /* a fault that is not the program's */
	landings++;
	siglongjmp(landing, 1);
}

static void fault_and_jump(struct live *live)
{
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1);
	unsigned char *forbidden =
		mmap(NULL, LIVE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct storm *storm = storm_start(live, at, bytes);

	gpu_write64(live, live->result, 0); /* a job: usvm is in front again */
	landing_thread = (pid_t)syscall(SYS_gettid);
	landings = 0;
	for (volatile int i = 0; i < 200; i++) {
		if (!sigsetjmp(landing, 1))
			*(volatile unsigned char *)forbidden;
		assert_int_equal(landings, i + 1);
		live_assert_filled(at, LIVE_PAGE, 1, 0);
		/* The GPU's faults in between are not the handler's. */
		if (i % 20 == 0)
			assert_int_equal(gpu_try(live, USVM_ACCESS_READ, forbidden, NULL),
					 -EPERM);
	}
	assert_int_equal(landings, 200);
	storm_stop(storm);
	live_assert_filled(at, bytes, 1, 0);
	munmap(forbidden, LIVE_PAGE);
}

static void own_faults(struct live *live, bool before_open)
{
	struct sigaction action = { .sa_handler = leave_by_jump }, before;
	const struct live_param *param = live->param;

	if (before_open)
		live_close(live);
	assert_int_equal(sigaction(SIGSEGV, &action, &before), 0);
	if (before_open)
		live_open(live, param, param->spec);
	fault_and_jump(live);
	if (before_open)
		live_close(live);
	assert_int_equal(sigaction(SIGSEGV, &before, NULL), 0);
	if (before_open)
		live_open(live, param, param->spec);
}

static void a_handler_from_before_the_open_may_jump(void **state)
{
	struct live *live = *state;

	storm_name(live, __func__);
	own_faults(live, true);
}

static void a_handler_from_after_the_open_may_jump(void **state)
{
	struct live *live = *state;

	storm_name(live, __func__);
	own_faults(live, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_ALL(two_threads_write_to_a_pipe),
		LIVE_TEST_ALL(two_threads_write_to_a_file),
		LIVE_TEST_ALL(two_threads_write_to_a_stream),
		LIVE_TEST_ALL(a_full_pipe_keeps_no_page),
		LIVE_TEST_MODES(the_heap_is_used_while_it_moves),
		LIVE_TEST_MODES(fork_while_others_use_the_heap),
		LIVE_TEST_MODES(threads_print_from_a_heap_that_moves),
		LIVE_TEST_MODES(a_reader_sees_the_end_of_a_pipe),
		LIVE_TEST_MODES(closing_every_descriptor_hurts_nothing),
		LIVE_TEST_ALL(a_handler_touches_pages_on_the_device),
		LIVE_TEST_ALL(a_storm_of_timers_stops_nothing),
		LIVE_TEST_MODES(a_handler_from_before_the_open_may_jump),
		LIVE_TEST_MODES(a_handler_from_after_the_open_may_jump),
	};

	return LIVE_RUN(tests);
}
