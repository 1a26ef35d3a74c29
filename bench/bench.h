/* SPDX-License-Identifier: MIT */
/*
 * bench/bench.h - what the benchmarks share.
 *
 * A benchmark answers one question with rows. A row measures the same thing done by
 * usvm and by its rivals (rivals.h), in one process, in rounds that take turns, so that
 * what the machine does meanwhile falls on all of them. Told are the median and the 99th
 * percentile of each, and the targets of the row: met or missed. Nothing is counted that
 * was not looked at: a wrong byte or a page that was not where the row says ends the
 * benchmark. A target that is missed does not.
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
#define BENCH_SIDES_MAX 6
#define BENCH_TARGETS_MAX 4
#define BENCH_ROWS_MAX 32

/* Of side 0, which is usvm's, in enum bench_target_kind. */
#define BENCH_MEDIAN 50
#define BENCH_P99 99

enum bench_place {
	BENCH_SAME_CORE,  /* all threads on one processor */
	BENCH_OTHER_CORE, /* the one that faults on one, who serves it on another */
	BENCH_FREE,       /* where the kernel likes */
};

/** struct bench_side - one way to do it, and what it took each time */
struct bench_side {
	const char *name;
	double *values;
	size_t count;
	size_t room;
	double median; /* these two: by bench_report() */
	double p99;
};

enum bench_target_kind {
	BENCH_RATIO,    /* at most limit times the rival's, of the same percentile */
	BENCH_VALUE,    /* at most limit */
	BENCH_DISTANCE, /* at most limit over the rival's */
};

struct bench_target {
	enum bench_target_kind kind;
	unsigned int percent; /* BENCH_MEDIAN or BENCH_P99 */
	unsigned int rival;   /* a side */
	bool is_alternative;  /* the one before or this one */
	double limit;
};

/** struct bench_row - one thing that is measured */
struct bench_row {
	char question[64];
	const char *unit; /* "us", ... */
	enum bench_place place;
	struct bench_side sides[BENCH_SIDES_MAX];
	size_t side_count;
	struct bench_target targets[BENCH_TARGETS_MAX];
	size_t target_count;
};

/** struct bench - the command line, and the rows so far */
struct bench {
	const char *name;
	const char *json_path;
	bool smoke;          /* short: is it still right? */
	bool one_core;       /* only what runs on one processor: the others are busy */
	unsigned int rounds; /* of each side, taking turns */
	struct bench_row rows[BENCH_ROWS_MAX];
	size_t row_count;
};

/** bench_init() - read the command line; ends the program where it is wrong */
void bench_init(struct bench *bench, const char *name, const char *question, int argc,
		char **argv);

/** bench_row() - a new row. Return: never NULL. */
__attribute__((format(printf, 4, 5))) struct bench_row *
bench_row(struct bench *bench, enum bench_place place, const char *unit,
	  const char *format, ...);

/** bench_side() - a new side of @row, with room for @samples; the first is usvm's.
 * Return: never NULL. */
struct bench_side *bench_side(struct bench_row *row, const char *name, size_t samples);

/** bench_want() - a target of usvm's side: see enum bench_target_kind */
void bench_want(struct bench_row *row, enum bench_target_kind kind, unsigned int percent,
		unsigned int rival, double limit);

/** bench_want_or() - another that will do instead of the last */
void bench_want_or(struct bench_row *row, enum bench_target_kind kind, unsigned int percent,
		   unsigned int rival, double limit);

/** bench_report() - the table, and the file of --json. Return: exit status. */
int bench_report(struct bench *bench);

/** bench_fail() - say what was wrong and end with 1 */
__attribute__((noreturn, format(printf, 1, 2))) void bench_fail(const char *format, ...);

/** bench_must() - bench_fail() when @err is not 0 */
void bench_must(int err, const char *what);

static inline void bench_sample(struct bench_side *side, double value)
{
	if (side->count < side->room)
		side->values[side->count++] = value;
}

static inline uint64_t bench_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline double bench_us_since(uint64_t start_ns)
{
	return (double)(bench_now_ns() - start_ns) / 1e3;
}

/* --- the machine --------------------------------------------------------------------- */

/** bench_core_count() - processors that this process may use, at most 2 are told */
unsigned int bench_core_count(void);

/** bench_places() - how many of enum bench_place to measure: a second processor is needed for
 * another core, and a short run does without it */
static inline unsigned int bench_places(const struct bench *bench)
{
	return bench->smoke || bench->one_core ? 1 : bench_core_count();
}

/** bench_pin() - thread @tid (0: the caller) runs on the first or second processor */
void bench_pin(int tid, unsigned int core);

/** bench_unpin() - thread @tid runs on any processor again */
void bench_unpin(int tid);

/** bench_place_core() - where who serves the first processor's thread runs */
static inline unsigned int bench_place_core(enum bench_place place)
{
	return place == BENCH_OTHER_CORE;
}

/** bench_map() - private memory, aligned to 2 MiB, with huge pages or without */
unsigned char *bench_map(size_t bytes, bool huge);

/** bench_present() - pages of this span that the process has now; @huge: of them, those
 * in huge pages. Asks the kernel, touches nothing. */
size_t bench_present(const void *at, size_t bytes, size_t *huge);

/** bench_fill() - write a pattern into each page of the span, as bench_check() wants it */
void bench_fill(unsigned char *at, size_t bytes);

/** bench_check() - bench_fail() unless the span is as it was filled; touches all of it */
void bench_check(const unsigned char *at, size_t bytes);

static inline unsigned char bench_pattern(size_t offset)
{
	return (unsigned char)(offset / BENCH_PAGE % 251 + 1);
}

/** bench_memcpy_us() - how long memcpy() of so much takes, now */
double bench_memcpy_us(void *to, const void *from, size_t bytes);

/** struct bench_helper - a thread that runs a function when it is asked to */
struct bench_helper;
struct bench_helper *bench_helper_start(unsigned int core, void (*run)(void *arg), void *arg);
/** bench_helper_ask() - let it run once, and wait */
void bench_helper_ask(struct bench_helper *helper);
void bench_helper_begin(struct bench_helper *helper);
void bench_helper_wait(struct bench_helper *helper);
void bench_helper_stop(struct bench_helper *helper);

/* --- usvm ---------------------------------------------------------------------------- */

struct bench_device {
	struct usvm *gpu;
	struct usvm_vm *vm;
	struct usvm_queue *queue;
};

/** bench_device_open() - ends the program with 77 where memory cannot migrate */
void bench_device_open(struct bench_device *device, const char *spec);
void bench_device_close(struct bench_device *device);

/** bench_device_pin() - the library's threads, found by their names: engines on one
 * processor, the rest on another */
void bench_device_pin(unsigned int engine_core, unsigned int other_core);

/** bench_device_place() - the same: engines are where the faulting thread is */
void bench_device_place(enum bench_place place);

/** bench_expect() - all pages of the span are in this state, else bench_fail() */
void bench_expect(const struct bench_device *device, const void *at, size_t bytes,
		  enum usvm_page_state state);

/** bench_expect_huge() - all pages of the span are in huge pages, or none is. Where the kernel
 * was short of huge pages for a moment, up to a quarter of them are collapsed first. */
void bench_expect_huge(const void *at, size_t bytes, bool huge);

/** bench_prefetch() - put the span on the device, and see that it is there */
void bench_prefetch(const struct bench_device *device, const void *at, size_t bytes);

/** bench_run() - run @function once for each of @groups groups, and wait */
void bench_run(const struct bench_device *device, usvm_kernel_fn function, uint32_t groups,
	       const void *args, size_t args_bytes);

/** bench_trace_drain() - call @use (or NULL) for each event that the trace has */
void bench_trace_drain(const struct bench_device *device,
		       void (*use)(const struct usvm_trace_event *event, void *arg),
		       void *arg);

#endif
