/* SPDX-License-Identifier: MIT */
/*
 * tests/matrix/matrix.h - a matrix of live tests: what a program does to memory, by
 * where the memory is.
 *
 * A row (rows.inc) is something that a program does to 16 pages. A column is where the
 * pages are when it does it, proved by the page query, by /proc/self/pagemap and by the
 * counters. Each cell is run by the main thread, by another thread, and with the GPU at
 * work on the same pages.
 *
 * A row says nothing about what is right. It runs once in plain memory, without a device,
 * and notes what it sees; then in each column, and has to note the same. After it every
 * page is looked at, by the GPU and by the CPU, and has to be what it is natively: to the
 * byte, or not there. What differs and may is in limits.inc.
 *
 *     runner --fork--> row natively        notes, pages --+
 *            --fork--> column, then row    notes, pages --+-- compared
 *
 * The GPU at work adds 1 to the last word of each page and counts how often: where a page
 * is kept, none of its additions may be lost.
 */
#ifndef TESTS_MATRIX_MATRIX_H
#define TESTS_MATRIX_MATRIX_H

#include "live/support/held.h"
#include "live/support/live.h"

#define AREA_BYTES (16 * LIVE_PAGE)
#define SEED 1

/* --- the table ---------------- */

#define COLUMNS(COLUMN)                                                            \
	COLUMN(home, HOME, "HOME")                                                 \
	COLUMN(moving, MOVING, "MOVING")                                           \
	COLUMN(device, DEVICE, "DEVICE")                                           \
	COLUMN(evicted, EVICTED, "evicted")                                        \
	COLUMN(part, PART, "part") /* a quarter each: device, home, device, hole */

#define COLUMN_NUMBER(function, name, title) COLUMN_##name,

enum column {
	COLUMNS(COLUMN_NUMBER)
	COLUMN_COUNT,
	COLUMN_NATIVE = COLUMN_COUNT, /* no device: what is right */
	COLUMN_NATIVE_PART,
};

enum who {
	BY_MAIN,
	BY_THREAD,
	BY_MAIN_BESIDE_GPU,
	WHO_COUNT,
};

enum mode {
	MODE_MOVE,
	MODE_COPY,
	MODE_COUNT,
};

/* What the area is. */
enum memory {
	ANON, /* private, anonymous, small pages */
	BRK,
	HUGE, /* one huge page */
	FILE_PRIVATE,
	FILE_SHARED,
	MEMFD,
	SHARED,
	HUGETLB,
};

enum row_flag {
	IN_PLACE = 1 << 0,  /* such memory never migrates: HOME in each column */
	FREES = 1 << 1,     /* a page may be zeros instead, as the call's contract has it */
	LOSES = 1 << 2,     /* the GPU's additions may go elsewhere, natively too */
	OPAQUE = 1 << 3,    /* contents are addresses: only notes are compared */
	NEEDS_SWAP = 1 << 4,
	NEEDS_KSM = 1 << 5,
	NEEDS_HUGETLB = 1 << 6,
	NO_GPU = 1 << 8,    /* what the GPU adds to would break it natively too */
	SPLIT = 1 << 7,     /* prepare() makes several mappings of the area */
};

#define ROW_MACHINE (NEEDS_SWAP | NEEDS_KSM | NEEDS_HUGETLB)

/* Titles of columns in which a row differs, and may: limits.inc. */
#define IN(column) (1u << COLUMN_##column)
#define IN_ALL ((1u << COLUMN_COUNT) - 1)

struct cell;

struct row {
	const char *name, *title;
	enum memory memory;
	void (*prepare)(struct cell *cell); /* before the column */
	void (*act)(struct cell *cell);
	uint32_t flags;
};

extern const struct row rows[]; /* a row without act() is the title of a group */
extern const size_t row_count;
extern const char *const column_names[COLUMN_COUNT];

/* --- what a run saw ---------------- */

#define ENTRIES_MAX 2600
#define GPU_PAGES_MAX 1100

struct entry {
	char name[16];
	uint32_t is_page;
	uint32_t index;
	uint64_t value;   /* of a note; of a page: its hash, 0: it cannot be read */
	uint64_t head;    /* of a page: the hash of its first words */
	uint64_t counter; /* its last word */
};

struct record {
	uint32_t count;  /* atomic */
	uint32_t is_over; /* the run came to its end */
	char skipped[96]; /* or why it could not begin */
	struct entry entries[ENTRIES_MAX];
	uint32_t gpu_count;
	struct entry gpu[GPU_PAGES_MAX]; /* the same pages, as the GPU sees them; counter: its
					  * error */
};

/* --- what everybody shares: never migrates ---------------- */

enum request {
	REQUEST_NONE,
	REQUEST_READ,    /* process_vm_readv() of @at to outside_buffer */
	REQUEST_WRITE,   /* process_vm_writev() of it to @at */
	REQUEST_STOP,    /* SIGSTOP, until it has stopped, and SIGCONT */
	REQUEST_ADVISE,  /* process_madvise() with advice @argument */
	REQUEST_PEEK,    /* pread() of /proc/PID/mem, to outside_buffer */
};

struct shared {
	/* A process outside, which is asked. */
	uint32_t request; /* atomic, futex */
	uint32_t request_done; /* atomic, futex */
	int32_t request_pid;
	uint64_t request_at, request_bytes, request_argument;
	int64_t request_result;
	unsigned char outside_buffer[AREA_BYTES];

	/* The GPU at work. */
	uint64_t stop, started[2];
	uint64_t added[LIVE_HUGE / LIVE_PAGE]; /* by page of the area */
	uint64_t gpu_page[GPU_PAGES_MAX][2];   /* head and counter of what it read */
	uint64_t gpu_list[GPU_PAGES_MAX];

	/* For rows. */
	uint32_t words[16];
	unsigned char buffer[LIVE_HUGE];

	char what[64]; /* where a cell is: shown when it hangs */
	struct record native, native_part, got;
};

extern struct shared *shared;

/* --- a cell, in a process of its own ---------------- */

struct window {
	unsigned char *at;
	size_t bytes;
};

struct cell {
	const struct row *row;
	enum column column;
	enum who who;
	enum mode mode;
	bool native;
	bool has_part; /* the last quarter of the area is holes */
	struct live live; /* the model device; gpu is NULL natively */
	struct live held_live;
	struct held *held; /* what holds the pages MOVING, or NULL */
	unsigned char *at;
	size_t bytes, part; /* the area, a quarter of it */
	unsigned char *to;  /* room for two areas, not mapped */
	int fd;             /* of FILE_* and MEMFD */
	struct window windows[4]; /* what is compared at the end; the first is the area */
	size_t window_count;
	struct record *record;
};

/* Devices are opened with entries=marked. */
extern bool cell_marked;

/** cell_run() - in a child: memory, column, act, look */
_Noreturn void cell_run(const struct row *row, enum column column, enum who who,
			enum mode mode);

/** column_open() - the device, as the column wants it */
void column_open(struct cell *c);

/** column_enter() - bring the area where the column says, and prove it */
void column_enter(struct cell *c);

/** column_leave() - behind the act: nothing is held any more */
void column_leave(struct cell *c);

/** cell_note() - something that has to be as it is natively; an errno, a length, a sum */
void cell_note(struct cell *c, const char *name, int64_t value);

/** cell_result() - result of a system call: itself, or -errno */
void cell_result(struct cell *c, const char *name, long result);

/** cell_watch() - compare this span too, at the end */
void cell_watch(struct cell *c, void *at, size_t bytes);

/** cell_look() - note each page of a span now: what it has, or that it cannot be read */
void cell_look(struct cell *c, const char *name, const void *at, size_t bytes);

/** cell_skip() - end the cell: @why it cannot be run here */
_Noreturn void cell_skip(struct cell *c, const char *why);

/** cell_outside() - ask the process outside. Return: what the call returned, or -errno. */
int64_t cell_outside(enum request request, void *at, size_t bytes, uint64_t argument);

/** cell_is_held() - the act runs while its pages are MOVING */
bool cell_is_held(const struct cell *c);

/** page_hash() - of the words of a page but the last; never 0 */
uint64_t page_hash(const void *page);
uint64_t page_head(const void *page);

/** gpu_look() - the pages of a record, read by the GPU */
void gpu_look(struct cell *c, const struct record *native);

/** gpu_begin(), gpu_end() - the GPU at work on the area */
void gpu_begin(struct cell *c);
void gpu_end(struct cell *c);

/* --- limits ---------------- */

struct difference {
	enum { DIFFERENT_NOTE, DIFFERENT_PAGE, DIFFERENT_COUNT, DIFFERENT_GPU } kind;
	const char *name; /* of the entry */
	uint32_t index;
	uint64_t native, got; /* values; of pages: hashes, 0: cannot be read */
	int error; /* of the GPU's read */
	uint64_t old; /* what a page of the area was before the row */
};

struct limit {
	const char *row;
	uint32_t number; /* of limit_texts */
	uint32_t columns, whos, modes; /* bits */
	bool plain_only; /* not with entries=marked */
	bool (*allows)(const struct difference *difference);
};

struct limit_text {
	const char *title, *what;
};

extern const struct limit limits[];
extern const size_t limit_count;
extern const struct limit_text limit_texts[];
extern const size_t limit_text_count;

const struct limit *limit_find(const struct row *row, enum column column, enum who who,
			       enum mode mode);

/** zero_page_hash(), first_hash() - of a page of zeros; of page @index of the area */
uint64_t zero_page_hash(void);
uint64_t first_hash(uint32_t index);
uint64_t first_head(uint32_t index);

/* --- the machine ---------------- */

/** machine_prepare() - what rows with @flags need of the machine; put back when this
 * process ends in any way. Return: NULL, or why not. */
const char *machine_prepare(uint32_t flags);

/** machine_restore() - now */
void machine_restore(void);

/* --- running ---------------- */

struct tally {
	unsigned int passed, failed, skipped, limited;
};

/** runner_start() - the shared memory and the process outside; runner_end() */
void runner_start(void);
void runner_end(void);

/** runner_row() - all cells of a row in @mode that the masks name; failures are printed */
void runner_row(const struct row *row, enum mode mode, uint32_t columns, uint32_t whos,
		struct tally *tally);

/** document() - print docs/matrix.md */
void document(void);

/** cell_impossible() - why a cell cannot be, on any machine; NULL: it can */
const char *cell_impossible(const struct row *row, enum column column);

#endif
