/* SPDX-License-Identifier: MIT */
/*
 * bench/bench.h - what the benchmarks share.
 *
 * A benchmark answers one question with rows: a thing done bare, by the fewest system
 * calls that can do it (the floor), and the same done by usvm. Both are measured in
 * one process, in rounds that take turns, so that what the machine does meanwhile
 * falls on both. A row tells the median and the 99th percentile of each and the ratio
 * of the medians. Nothing is counted that was not looked at: a wrong byte or a page
 * that was not where the row says ends the benchmark.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <usvm/usvm.h>

#define BENCH_PAGE ((size_t)4096)
#define BENCH_HUGE ((size_t)2 << 20)

enum bench_place {
	BENCH_SAME_CORE,  /* all threads on one processor */
	BENCH_OTHER_CORE, /* the one that faults on one, the others on another */
};

/** struct bench_samples - times of one side of one row */
struct bench_samples {
	uint64_t *ns;
	size_t count;
	size_t room;
};

/** struct bench_row - one line of the table */
struct bench_row {
	const char *question;
	enum bench_place place;
	struct bench_samples floor;
	struct bench_samples usvm;
};

/** struct bench - the command line, and the rows so far */
struct bench {
	const char *name;
	const char *json_path;
	bool smoke;          /* short: is it still right? */
	unsigned int rounds; /* of each side, taking turns */
	struct bench_row rows[16];
	size_t row_count;
};

/** bench_init() - read the command line; ends the program where it is wrong */
void bench_init(struct bench *bench, const char *name, const char *question, int argc,
		char **argv);

/** bench_row_add() - a new row, with room for @samples a side. Return: never NULL. */
struct bench_row *bench_row_add(struct bench *bench, const char *question,
				enum bench_place place, size_t samples);

/** bench_report() - the table, and the file of --json. Return: exit status. */
int bench_report(struct bench *bench);

/** bench_fail() - say what was wrong and end with 1 */
__attribute__((noreturn, format(printf, 1, 2))) void bench_fail(const char *format, ...);

/** bench_must() - bench_fail() when @err is not 0 */
void bench_must(int err, const char *what);

static inline void bench_sample(struct bench_samples *samples, uint64_t ns)
{
	if (samples->count < samples->room)
		samples->ns[samples->count++] = ns;
}

static inline uint64_t bench_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/** bench_core_count() - processors that this process may use, at most 2 are told */
unsigned int bench_core_count(void);

/** bench_pin() - thread @tid (0: the caller) runs on the first or second processor */
void bench_pin(int tid, unsigned int core);

/** bench_map() - private memory, aligned to 2 MiB, with huge pages or without */
unsigned char *bench_map(size_t bytes, bool huge);

/** bench_present() - pages of this span that the process has now; @huge: of them, those
 * in huge pages. Asks the kernel, touches nothing. */
size_t bench_present(const void *at, size_t bytes, size_t *huge);

/** struct bench_device - usvm, and its threads, which are pinned by name */
struct bench_device {
	struct usvm *gpu;
	struct usvm_vm *vm;
	struct usvm_queue *queue;
};

/** bench_device_open() - ends the program with 77 where memory cannot migrate */
void bench_device_open(struct bench_device *device, const char *spec);
void bench_device_close(struct bench_device *device);

/** bench_device_pin() - library threads: engines on one processor, the rest on another */
void bench_device_pin(unsigned int engine_core, unsigned int other_core);

/** bench_expect() - all pages of the span are in this state, else bench_fail() */
void bench_expect(const struct bench_device *device, const void *at, size_t bytes,
		  enum usvm_page_state state);

/* --- the bare side: userfaultfd, and nothing of usvm ------------------------------- */

/** bench_uffd_open() - a blocking userfaultfd that can MOVE */
int bench_uffd_open(void);
void bench_uffd_register(int uffd, const void *at, size_t bytes);

/** bench_uffd_move() - Return: 0 or -errno; all of it or nothing for the spans used here */
int bench_uffd_move(int uffd, const void *to, const void *from, size_t bytes);

/** bench_uffd_read_fault() - wait for a fault. Return: its address. */
uint64_t bench_uffd_read_fault(int uffd);

/** bench_uffd_zero() - answer a fault with a page of zeros */
void bench_uffd_zero(int uffd, uint64_t addr);

#endif
