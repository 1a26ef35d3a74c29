/* SPDX-License-Identifier: MIT */
/*
 * DOC: One cell
 *
 *     open the device      memory, filled       row's prepare()
 *     column_enter()       act()                column_leave()
 *     the GPU looks at every page, then the CPU does
 *
 * Natively the same without the first and without the GPU. The area lies at the same
 * address in every cell, with mappings without access around it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "coverage.h"
#include "matrix.h"

#define RESERVED_BYTES (32 * LIVE_HUGE)

/* --- what is seen ---------------- */

static struct entry *new_entry(struct cell *c, const char *name)
{
	uint32_t i = __atomic_fetch_add(&c->record->count, 1, __ATOMIC_SEQ_CST);
	struct entry *entry;

	if (i >= ENTRIES_MAX)
		live_child_failed(__FILE__, __LINE__, "too many notes");
	entry = &c->record->entries[i];
	memset(entry, 0, sizeof(*entry));
	snprintf(entry->name, sizeof(entry->name), "%s", name);
	return entry;
}

void cell_note(struct cell *c, const char *name, int64_t value)
{
	struct entry *entry = new_entry(c, name);

	entry->value = (uint64_t)value;
	snprintf(shared->what, sizeof(shared->what), "%s", name);
}

void cell_result(struct cell *c, const char *name, long result)
{
	cell_note(c, name, result < 0 ? -errno : result);
}

void cell_skip(struct cell *c, const char *why)
{
	snprintf(c->record->skipped, sizeof(c->record->skipped), "%s", why);
	_exit(0);
}

void cell_watch(struct cell *c, void *at, size_t bytes)
{
	assert_true(c->window_count < 4);
	c->windows[c->window_count++] = (struct window){ at, bytes };
}

static uint64_t hash_words(const void *page, unsigned int count)
{
	const volatile uint64_t *words = page;
	uint64_t hash = 0xCBF29CE484222325u;

	for (unsigned int i = 0; i < count; i++)
		hash = (hash ^ words[i]) * 0x100000001B3u + (hash >> 47);
	return hash ? hash : 1;
}

#define HEAD_WORDS 24
#define LAST_WORD 511

uint64_t page_hash(const void *page)
{
	return hash_words(page, LAST_WORD);
}

uint64_t page_head(const void *page)
{
	return hash_words(page, HEAD_WORDS);
}

static _Thread_local sigjmp_buf look_again;
static _Thread_local volatile sig_atomic_t is_looking;

static void on_fault(int number)
{
	if (is_looking)
		siglongjmp(look_again, number);
	signal(number, SIG_DFL);
	raise(number);
}

static void look_at_page(struct entry *entry, const unsigned char *page)
{
	entry->is_page = 1;
	if (sigsetjmp(look_again, 1) == 0) {
		is_looking = 1;
		entry->value = page_hash(page);
		entry->head = page_head(page);
		entry->counter = ((const volatile uint64_t *)(const void *)page)[LAST_WORD];
	} else {
		entry->value = entry->head = entry->counter = 0;
	}
	is_looking = 0;
}

void cell_look(struct cell *c, const char *name, const void *at, size_t bytes)
{
	snprintf(shared->what, sizeof(shared->what), "look: %s", name);
	for (size_t i = 0; i < bytes / LIVE_PAGE; i++) {
		struct entry *entry = new_entry(c, name);

		entry->index = (uint32_t)i;
		look_at_page(entry, (const unsigned char *)at + i * LIVE_PAGE);
	}
}

/* --- the GPU ---------------- */

struct work_args {
	uint64_t at, pages, quarters[2], stop, started, added;
};

/* Adds 1 to each page of two quarters, until told. Whoever else is there goes first: two
 * jobs that do not sleep would have both processors, and the act would wait for its turn. */
static void work(struct usvm_lane *lane, const void *p)
{
	const struct work_args *a = p;
	uint64_t part = a->pages / 4;

	usvm_store64(lane, a->started, 1);
	while (!usvm_load64(lane, a->stop)) {
		for (uint64_t i = 0; i < 2 * part; i++) {
			uint64_t page = a->quarters[i / part] * part + i % part;

			usvm_atomic_add64(lane, a->at + page * LIVE_PAGE + LAST_WORD * 8, 1);
			usvm_atomic_add64(lane, a->added + page * 8, 1);
		}
		sched_yield();
	}
}

static struct usvm_queue *work_queues[2];
static struct usvm_fence *work_fences[2];

static bool has_started(unsigned int i)
{
	return __atomic_load_n(&shared->started[i], __ATOMIC_ACQUIRE);
}

/* Off the processor for a moment: the jobs do not end before they are told. */
static void let_work(void)
{
	usvm_fence_wait(work_fences[0], 50000);
}

void gpu_begin(struct cell *c)
{
	shared->stop = 0;
	memset(shared->added, 0, sizeof(shared->added));
	for (uint64_t i = 0; i < 2; i++) {
		struct work_args args = {
			.at = (uintptr_t)c->at, .pages = c->bytes / LIVE_PAGE,
			.quarters = { i, 3 - i }, .stop = (uintptr_t)&shared->stop,
			.started = (uintptr_t)&shared->started[i],
			.added = (uintptr_t)shared->added,
		};

		shared->started[i] = 0;
		assert_int_equal(usvm_queue_create(c->live.vm, NULL, &work_queues[i]), 0);
		assert_int_equal(usvm_submit_kernel(work_queues[i], &(struct usvm_kernel){
			.function = work, .args = &args, .args_bytes = sizeof(args) },
			&work_fences[i]), 0);
	}
	/* What holds a worker may hold up new jobs and faults. */
	while (!c->held && !(has_started(0) && has_started(1)))
		let_work();
	while (cell_is_held(c) && !(has_started(0) || has_started(1)))
		let_work();
	/* What is on its way cannot be added to; the rest is worked on. */
	while (!c->held && !__atomic_load_n(&shared->added[0], __ATOMIC_ACQUIRE))
		let_work();
}

void gpu_end(struct cell *c)
{
	__atomic_store_n(&shared->stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++) {
		int err = usvm_fence_wait(work_fences[i], USVM_FOREVER);

		/* The memory may be gone, or its rights. */
		assert_true(err == 0 || err == -EFAULT || err == -EPERM);
		usvm_fence_put(work_fences[i]);
		assert_int_equal(usvm_queue_destroy(work_queues[i]), 0);
	}
	(void)c;
}

struct look_args {
	uint64_t list, count, out;
};

static void look(struct usvm_lane *lane, const void *p)
{
	const struct look_args *a = p;

	for (uint64_t i = 0; i < a->count; i++) {
		uint64_t page = usvm_load64(lane, a->list + 8 * i), words[HEAD_WORDS];

		for (uint64_t j = 0; j < HEAD_WORDS; j++)
			words[j] = usvm_load64(lane, page + 8 * j);
		usvm_store64(lane, a->out + 16 * i, hash_words(words, HEAD_WORDS));
		usvm_store64(lane, a->out + 16 * i + 8,
			     usvm_load64(lane, page + 8 * LAST_WORD));
	}
}

/* Return: the end of a job that reads @count pages of the list from @from on. */
static int run_look(struct cell *c, uint64_t from, uint64_t count)
{
	struct look_args args = { (uintptr_t)&shared->gpu_list[from], count,
				  (uintptr_t)&shared->gpu_page[from] };
	struct usvm_queue *queue;
	int err;

	assert_int_equal(usvm_queue_create(c->live.vm, NULL, &queue), 0);
	err = usvm_run_kernel(queue, &(struct usvm_kernel){
		.function = look, .args = &args, .args_bytes = sizeof(args) });
	assert_int_equal(usvm_queue_destroy(queue), 0);
	return err;
}

/* Pages [from, to) of the list can be read natively, or cannot. */
static void look_at_run(struct cell *c, uint32_t from, uint32_t to, bool readable)
{
	static uint64_t zeros[512];
	int err = readable ? run_look(c, from, to - from) : -EFAULT;

	for (uint32_t i = from; i < to; i++) {
		struct entry *entry = &c->record->gpu[i];
		bool alone = !readable && (i == from || i == to - 1);

		entry->head = entry->value = 0;
		entry->counter = 0;
		if (err && (readable || alone))
			entry->counter = (uint64_t)-run_look(c, i, 1);
		if (entry->counter || (!readable && !alone))
			continue;
		entry->head = entry->value = shared->gpu_page[i][0];
		if (entry->head == page_head(zeros))
			entry->value = zero_page_hash();
	}
}

void gpu_look(struct cell *c, const struct record *native)
{
	uint32_t pages = 0, from = 0, first = 0;

	while (first < native->count && (!native->entries[first].is_page ||
					 strcmp(native->entries[first].name, "end")))
		first++;
	for (size_t w = 0; w < c->window_count; w++) {
		for (size_t i = 0; i < c->windows[w].bytes; i += LIVE_PAGE)
			shared->gpu_list[pages++] = (uintptr_t)c->windows[w].at + i;
	}
	assert_true(pages <= GPU_PAGES_MAX);
	snprintf(shared->what, sizeof(shared->what), "the GPU looks");
	c->record->gpu_count = pages;
	for (uint32_t i = 1; i <= pages; i++) {
		const struct entry *entry = &native->entries[first + from];

		if (i < pages && !entry[i - from].value == !entry->value)
			continue;
		look_at_run(c, from, i, entry->value != 0);
		from = i;
	}
}

/* --- memory ---------------- */

static unsigned char *reserved;

static void reserve(void)
{
	unsigned char *at = mmap(NULL, RESERVED_BYTES, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	reserved = (void *)(((uintptr_t)at + LIVE_HUGE - 1) & ~(LIVE_HUGE - 1));
}

static int open_file(enum memory memory)
{
	int fd = memory == MEMFD ? memfd_create("matrix", MFD_CLOEXEC) :
				   open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, AREA_BYTES), 0);
	return fd;
}

static void *map_heap(void)
{
	uintptr_t at = ((uintptr_t)sbrk(0) + AREA_BYTES - 1) & ~(AREA_BYTES - 1);

	assert_int_equal(brk((void *)(at + AREA_BYTES)), 0);
	return (void *)at;
}

static void map_area(struct cell *c)
{
	enum memory memory = c->row->memory;
	int flags = memory == SHARED || memory == FILE_SHARED || memory == MEMFD ?
			    MAP_SHARED : MAP_PRIVATE;

	c->fd = -1;
	c->bytes = memory == HUGE || memory == HUGETLB ? LIVE_HUGE : AREA_BYTES;
	c->part = c->bytes / 4;
	c->to = reserved + 8 * LIVE_HUGE;
	if (memory == BRK) {
		c->at = map_heap();
	} else {
		if (memory == FILE_PRIVATE || memory == FILE_SHARED || memory == MEMFD)
			c->fd = open_file(memory);
		if (memory == HUGETLB)
			flags |= MAP_HUGETLB;
		c->at = mmap(reserved + 2 * LIVE_HUGE, c->bytes, PROT_READ | PROT_WRITE,
			     MAP_FIXED | flags | (c->fd < 0 ? MAP_ANONYMOUS : 0), c->fd, 0);
	}
	assert_ptr_not_equal(c->at, MAP_FAILED);
	if (memory == HUGE)
		assert_int_equal(madvise(c->at, c->bytes, MADV_HUGEPAGE), 0);
	else if (memory == ANON || memory == BRK)
		assert_int_equal(madvise(c->at, c->bytes, MADV_NOHUGEPAGE), 0);
	live_fill(c->at, c->bytes, SEED, 0);
	if (memory == HUGE && live_huge(c->at, c->bytes) != c->bytes / LIVE_PAGE)
		cell_skip(c, "no huge pages here");
	cell_watch(c, c->at, c->bytes);
}

/* --- the act ---------------- */

static const char *look_text(int tid, const char *file, char *text, size_t bytes)
{
	char path[64];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	got = fd < 0 ? -1 : read(fd, text, bytes - 1); /* a row may have no /proc any more */
	if (fd >= 0)
		close(fd);
	text[got > 0 ? got : 0] = 0;
	return text;
}

struct keeper {
	struct cell *cell;
	int actor;
	uint32_t is_done; /* atomic */
};

/* Until the actor has ended, or sleeps: looks at it see that it has not run in between. */
static void *keep(void *arg)
{
	struct keeper *k = arg;
	char call[2][256], turns[2][128];
	unsigned int same = 0;

	call[0][0] = turns[0][0] = 0;
	for (unsigned int i = 1; same < 5 && !__atomic_load_n(&k->is_done, __ATOMIC_ACQUIRE);
	     i ^= 1) {
		sched_yield();
		look_text(k->actor, "syscall", call[i], sizeof(call[i]));
		look_text(k->actor, "schedstat", turns[i], sizeof(turns[i]));
		same = call[i][0] != 'r' && !strcmp(call[i], call[i ^ 1]) &&
		       !strcmp(turns[i], turns[i ^ 1]) ? same + 1 : 0;
	}
	held_release(&k->cell->held->hold_copy);
	held_release(&k->cell->held->hold_worker);
	return NULL;
}

static void *act(void *arg)
{
	struct cell *c = arg;
	struct keeper keeper = { .cell = c, .actor = (int)syscall(SYS_gettid) };
	pthread_t thread;

	if (c->held)
		assert_int_equal(pthread_create(&thread, NULL, keep, &keeper), 0);
	snprintf(shared->what, sizeof(shared->what), "the act");
	c->row->act(c);
	__atomic_store_n(&keeper.is_done, 1, __ATOMIC_RELEASE);
	if (c->held)
		pthread_join(thread, NULL);
	return NULL;
}

bool cell_is_held(const struct cell *c)
{
	return c->held && c->mode == MODE_COPY;
}

static void run_act(struct cell *c)
{
	pthread_t thread;

	if (c->who == BY_MAIN_BESIDE_GPU)
		gpu_begin(c);
	if (c->who == BY_THREAD) {
		assert_int_equal(pthread_create(&thread, NULL, act, c), 0);
		pthread_join(thread, NULL);
	} else {
		act(c);
	}
	snprintf(shared->what, sizeof(shared->what), "after the act");
	column_leave(c);
	if (c->who == BY_MAIN_BESIDE_GPU)
		gpu_end(c);
}

static void catch_faults(void)
{
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_ONSTACK };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

void cell_run(const struct row *row, enum column column, enum who who, enum mode mode)
{
	static struct cell cell;
	struct cell *c = &cell;

	c->row = row;
	c->column = column;
	c->who = who;
	c->mode = mode;
	c->native = column >= COLUMN_NATIVE;
	c->has_part = column == COLUMN_PART || column == COLUMN_NATIVE_PART;
	c->record = column == COLUMN_NATIVE ? &shared->native :
		    column == COLUMN_NATIVE_PART ? &shared->native_part : &shared->got;
	catch_faults();
	reserve();
	c->live.param = mode == MODE_COPY ? &live_copy : &live_move;
	if (!c->native)
		column_open(c);
	map_area(c);
	row->prepare(c);
	snprintf(shared->what, sizeof(shared->what), "the column");
	column_enter(c);
	run_act(c);
	if (!c->native)
		gpu_look(c, c->has_part ? &shared->native_part : &shared->native);
	for (size_t i = 0; i < c->window_count; i++)
		cell_look(c, "end", c->windows[i].at, c->windows[i].bytes);
	if (!c->native)
		assert_int_equal(usvm_stat(c->live.gpu, "mm_lost_pages"), 0);
	c->record->is_over = 1;
	coverage_keep();
	_exit(0);
}
