/* SPDX-License-Identifier: MIT */
/*
 * DOC: What the program does to its memory
 *
 * The pages of an operation are locked before it. It acts, says in the shadow what must
 * be there now, and often looks at once, with the CPU or the GPU; else whoever comes next
 * does. What the kernel may refuse is counted, and must have changed nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sys/linux_abi.h"

#include "oracle.h"

void look(struct worker *worker, const struct hold *hold, const char *when)
{
	uint32_t how = random_below(&worker->random, 4);

	if (how == 0)
		check_held(hold, worker->thread, &worker->random, when);
	else if (how == 1)
		job_run(&worker->job, hold, JOB_CHECK, 1, random_next(&worker->random));
}

static void prefetch(const struct hold *hold, enum usvm_place to)
{
	int err = usvm_prefetch(run->vm, hold_start(hold), hold->count * PAGE, to);

	if (err)
		report_failure(hold->area, "prefetch of what is mapped", err);
}

/* Now and then all of what is held is put where the next step shall find it. */
void place(struct worker *worker, const struct hold *hold)
{
	uint32_t how = random_below(&worker->random, 4);

	enum usvm_place to = how ? USVM_PLACE_DEVICE : USVM_PLACE_SYSTEM;

	if (how > 1)
		return;
	if (hold->area->object)
		object_move(hold->area, to);
	else
		prefetch(hold, to);
}

void note(const struct worker *worker, const struct hold *hold, const char *what)
{
	area_note(hold->area, worker->thread, what, hold->first, hold->count);
}

/* --- use ---------------- */

void op_touch(struct worker *worker, struct hold *hold)
{
	struct mismatch m;

	note(worker, hold, "touch");
	for (uint32_t i = 0; i < 32; i++) {
		uint32_t page = hold->first + random_below(&worker->random, hold->count);
		uint32_t start = TAG_FIRST + random_below(&worker->random, TAG_END - TAG_FIRST);

		touch_page(hold->area, page, worker->thread,
			   1 + random_below(&worker->random, 4));
		if (!check_page(hold->area, page, start, 8, false, &m))
			report_mismatch(hold->area, &m, worker->thread, "at a touch");
	}
}

/* The job has the pages now. */
void op_job(struct worker *worker, struct hold *hold)
{
	job_reap(&worker->job, true);
	if (random_one_in(&worker->random, 8))
		job_start(&worker->job, hold, JOB_CHECK, 1, 0);
	else
		job_start(&worker->job, hold, JOB_WORK, 1 + random_below(&worker->random, 8),
			  random_next(&worker->random));
}

void make_tags(struct worker *worker, const struct hold *hold)
{
	uint64_t tag;

	if (random_one_in(&worker->random, 2)) {
		job_run(&worker->job, hold, JOB_TAG, 1, random_next(&worker->random));
		return;
	}
	note(worker, hold, "writes tags");
	tag = ADD(&run->tag_next, 1);
	for (uint32_t i = 0; i < hold->count; i++) {
		uint32_t page = hold->first + i;
		uint64_t id = page_id(hold->area->index, page);
		volatile uint64_t *words = page_words(hold->area, page);

		for (uint32_t word = TAG_FIRST; word < TAG_END; word++)
			words[word] = tag_value(id, tag, word);
		STORE(&hold->area->shadow[page].tag, tag);
	}
}

void op_tag(struct worker *worker, struct hold *hold)
{
	make_tags(worker, hold);
	look(worker, hold, "after tags");
}

/* Of any pages of an area, whatever is being done to them. */
void op_prefetch(struct worker *worker, struct hold *hold)
{
	static const char *const names[] = { [USVM_PLACE_SYSTEM] = "prefetch system",
					     [USVM_PLACE_DEVICE] = "prefetch device",
					     [USVM_PLACE_ADVISED] = "prefetch advised" };
	uint32_t to = random_below(&worker->random, 3);
	int err;

	note(worker, hold, names[to]);
	err = usvm_prefetch(run->vm, hold_start(hold), hold->count * PAGE, to);
	if (err && err != -EFAULT) /* all of it was unmapped just then */
		report_failure(hold->area, "prefetch", err);
}

/* What is told of pages that change meanwhile: only that it adds up. */
void op_query(struct worker *worker, struct hold *hold)
{
	uint64_t pages[4] = { 0 }, all = 0;
	struct usvm_page_info info;
	int err = usvm_query_span(run->vm, hold_start(hold), hold->count * PAGE, pages);

	for (uint32_t i = 0; i < 4; i++)
		all += pages[i];
	if (err || all != hold->count)
		report_failure(hold->area, "a query of pages", err ? err : (int64_t)all);
	err = usvm_query(run->vm, hold_start(hold), &info);
	if (err || info.state > USVM_PAGE_DEVICE || (info.mapped & 2 && !(info.mapped & 1)))
		report_failure(hold->area, "a query of a page", err ? err : (int64_t)info.mapped);
	(void)worker;
}

/* --- the kernel reads pages, and writes them -------------------------------------------- */

/* What it reads it writes back. @ends: where to, where from. */
static void there_and_back(struct worker *worker, struct hold *hold, const int ends[2],
			   bool rewind)
{
	for (uint32_t i = 0; i < hold->count; i++) {
		unsigned char *at = hold_start(hold) + i * PAGE;

		if (write(ends[1], at, PAGE) != (ssize_t)PAGE)
			report_failure(hold->area, "write", errno);
		place(worker, hold);
		if (random_one_in(&worker->random, 2))
			memset(at, 0x5a, PAGE);
		if (rewind && lseek(ends[0], -(off_t)PAGE, SEEK_CUR) < 0)
			report_failure(hold->area, "lseek", errno);
		if (read(ends[0], at, PAGE) != (ssize_t)PAGE)
			report_failure(hold->area, "read", errno);
	}
	look(worker, hold, "after write and read");
}

void op_pipe(struct worker *worker, struct hold *hold)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		report_failure(NULL, "pipe2", errno);
	note(worker, hold, "pipe");
	there_and_back(worker, hold, ends, false);
	close(ends[0]);
	close(ends[1]);
}

void op_file(struct worker *worker, struct hold *hold)
{
	int file = memfd_create("usvm-oracle", MFD_CLOEXEC);

	if (file < 0)
		report_failure(NULL, "memfd_create", errno);
	note(worker, hold, "file");
	there_and_back(worker, hold, (const int[2]){ file, file }, true);
	close(file);
}

void op_vm_read(struct worker *worker, struct hold *hold)
{
	uint64_t copy[PAGE_WORDS];
	struct mismatch m;

	note(worker, hold, "process_vm_readv");
	for (uint32_t page = hold->first; page < hold->first + hold->count; page++) {
		struct iovec here = { copy, PAGE }, there = { page_at(hold->area, page), PAGE };
		ssize_t got;

		memset(copy, 0xa5, sizeof(copy));
		got = process_vm_readv(getpid(), &here, 1, &there, 1, 0);
		if (got != (ssize_t)PAGE) {
			worker->refused++;
			continue;
		}
		if (!check_copy(hold->area, page, copy, &m))
			report_mismatch(hold->area, &m, worker->thread, "by process_vm_readv()");
	}
}

/* --- in bulk ---------------- */

void op_copy(struct worker *worker, struct hold *hold)
{
	unsigned char saved[PAGE];

	note(worker, hold, "memcpy");
	for (uint32_t i = 0; i < hold->count; i++) {
		unsigned char *at = hold_start(hold) + i * PAGE;
		int fill = (int)random_below(&worker->random, 256);

		memcpy(saved, at, PAGE);
		memset(at, fill, PAGE);
		place(worker, hold);
		if (at[random_below(&worker->random, PAGE)] != fill)
			report_failure(hold->area, "a byte of memset()", fill);
		memcpy(at, saved, PAGE);
	}
	look(worker, hold, "after memcpy");
}

void op_bulk(struct worker *worker, struct hold *hold)
{
	job_run(&worker->job, hold, JOB_BULK, 1, random_next(&worker->random));
	look(worker, hold, "after bulk");
}

void op_batch(struct worker *worker, struct hold *hold)
{
	batch_run(&worker->job, hold, worker->commands);
}

/* --- contents go ---------------- */

static void lost(struct worker *worker, struct hold *hold, const char *when)
{
	shadow_clear(hold, hold->first, hold->count);
	look(worker, hold, when);
	if (random_one_in(&worker->random, 4))
		make_tags(worker, hold);
}

void op_dontneed(struct worker *worker, struct hold *hold)
{
	place(worker, hold);
	note(worker, hold, "DONTNEED");
	if (madvise(hold_start(hold), hold->count * PAGE, MADV_DONTNEED))
		report_failure(hold->area, "MADV_DONTNEED", errno);
	lost(worker, hold, "after DONTNEED");
}

void op_punch(struct worker *worker, struct hold *hold)
{
	note(worker, hold, "MADV_REMOVE");
	if (madvise(hold_start(hold), hold->count * PAGE, MADV_REMOVE))
		report_failure(hold->area, "MADV_REMOVE", errno);
	lost(worker, hold, "after MADV_REMOVE");
}

void op_map_fixed(struct worker *worker, struct hold *hold)
{
	place(worker, hold);
	note(worker, hold, "MAP_FIXED");
	if (!map_again(hold->area, hold->first, hold->count, MAP_FIXED))
		report_failure(hold->area, "MAP_FIXED", errno);
	advise_as(hold->area, hold->first, hold->count);
	lost(worker, hold, "after MAP_FIXED");
}

/* @load_nothing: a job looks while nothing is there. */
static void unmap_map(struct worker *worker, struct hold *hold, bool load_nothing)
{
	note(worker, hold, "munmap");
	if (munmap(hold_start(hold), hold->count * PAGE))
		report_failure(hold->area, "munmap", errno);
	if (load_nothing)
		job_must_fail(run->vm, &worker->job, hold, JOB_LOAD, -EFAULT);
	note(worker, hold, "mmap");
	if (!map_again(hold->area, hold->first, hold->count, MAP_FIXED_NOREPLACE))
		report_failure(hold->area, "mmap", errno);
	advise_as(hold->area, hold->first, hold->count);
	lost(worker, hold, "after munmap and mmap");
}

void op_unmap_map(struct worker *worker, struct hold *hold)
{
	place(worker, hold);
	unmap_map(worker, hold, false);
}

/* A job that touches memory that is not there fails, and says where. */
void op_absent(struct worker *worker, struct hold *hold)
{
	job_reap(&worker->job, true);
	place(worker, hold);
	unmap_map(worker, hold, true);
}

void settle_unsure(const struct worker *worker, const struct hold *hold, const char *when)
{
	for (uint32_t page = hold->first; page < hold->first + hold->count; page++) {
		uint64_t *words = page_words(hold->area, page);
		struct mismatch as_it_was, m;

		/* It stays so once it was written. */
		__atomic_store_n(&words[SCRATCH_WORD], 1, __ATOMIC_SEQ_CST);
		__atomic_store_n(&words[SCRATCH_WORD], 0, __ATOMIC_SEQ_CST);
		if (check_page(hold->area, page, TAG_FIRST, TAG_END, true, &as_it_was)) {
			settle_page(hold->area, page);
			continue;
		}
		shadow_clear(hold, page, 1);
		if (!check_page(hold->area, page, TAG_FIRST, TAG_END, true, &m))
			report_mismatch(hold->area, &as_it_was, worker->thread, when);
	}
}

void op_free(struct worker *worker, struct hold *hold)
{
	place(worker, hold);
	note(worker, hold, "MADV_FREE");
	if (madvise(hold_start(hold), hold->count * PAGE, MADV_FREE))
		report_failure(hold->area, "MADV_FREE", errno);
	place(worker, hold);
	settle_unsure(worker, hold, "after MADV_FREE");
}

/* Pages that were on the device when the guards came may have their contents after them
 * (docs/limits.md). While guards are there nobody reads anything. */
void op_guard(struct worker *worker, struct hold *hold)
{
	size_t bytes = hold->count * PAGE;
	int ends[2];

	place(worker, hold);
	note(worker, hold, "guards");
	if (madvise(hold_start(hold), bytes, ABI_MADV_GUARD_INSTALL)) {
		worker->refused++;
		return;
	}
	if (pipe2(ends, O_CLOEXEC))
		report_failure(NULL, "pipe2", errno);
	for (uint32_t i = 0; i < hold->count; i += 1 + random_below(&worker->random, 4)) {
		if (write(ends[1], hold_start(hold) + i * PAGE, 1) != -1 || errno != EFAULT)
			report_failure(hold->area, "a byte behind a guard", errno);
	}
	close(ends[0]);
	close(ends[1]);
	if (madvise(hold_start(hold), bytes, ABI_MADV_GUARD_REMOVE))
		report_failure(hold->area, "MADV_GUARD_REMOVE", errno);
	note(worker, hold, "no guards");
	settle_unsure(worker, hold, "after guards");
}

/* --- contents stay ---------------- */

/* Advice that changes no byte; the kernel may refuse it. */
void op_advise(struct worker *worker, struct hold *hold)
{
	static const struct {
		int advice;
		const char *name;
	} all[] = {
		{ MADV_COLD, "COLD" },
		{ MADV_PAGEOUT, "PAGEOUT" },
		{ MADV_WILLNEED, "WILLNEED" },
		{ ABI_MADV_POPULATE_READ, "POPULATE_READ" },
		{ ABI_MADV_POPULATE_WRITE, "POPULATE_WRITE" },
		{ MADV_HUGEPAGE, "HUGEPAGE" },
		{ MADV_NOHUGEPAGE, "NOHUGEPAGE" },
		{ ABI_MADV_COLLAPSE, "COLLAPSE" },
	};
	uint32_t i = random_below(&worker->random, sizeof(all) / sizeof(all[0]));

	note(worker, hold, all[i].name);
	if (madvise(hold_start(hold), hold->count * PAGE, all[i].advice))
		worker->refused++;
	look(worker, hold, "after advice");
}

/* What is said of pages that are locked is what is told of them, whatever is said of their
 * neighbours meanwhile. It stays at the address, for whoever comes there. */
void op_attribute(struct worker *worker, struct hold *hold)
{
	static const enum usvm_atomic atomics[] = { USVM_ATOMIC_UNDEFINED, USVM_ATOMIC_DEVICE,
						    USVM_ATOMIC_GLOBAL };
	struct usvm_attributes said = { .location = random_below(&worker->random, 3),
					.atomic = atomics[random_below(&worker->random, 3)] };
	uint64_t at = (uintptr_t)hold_start(hold), end = at + hold->count * PAGE;
	struct usvm_advised told;
	size_t count;

	note(worker, hold, "attributes");
	if (usvm_advise(run->vm, hold_start(hold), end - at,
			USVM_ATTRIBUTE_LOCATION | USVM_ATTRIBUTE_ATOMIC, &said))
		report_failure(hold->area, "usvm_advise", said.location);
	for (; at < end; at = told.addr + told.bytes) {
		int err = usvm_advise_query(run->vm, (void *)at, 1, &told, 1, &count);

		if (err || count != 1 || told.addr > at || told.addr + told.bytes <= at)
			report_failure(hold->area, "usvm_advise_query", err);
		if (told.attributes.location != said.location ||
		    told.attributes.atomic != said.atomic)
			report_failure(hold->area, "attributes that are told",
				       told.attributes.location);
	}
	look(worker, hold, "after attributes");
}

static void protect(const struct hold *hold, int rights)
{
	if (mprotect(hold_start(hold), hold->count * PAGE, rights))
		report_failure(hold->area, "mprotect", errno);
}

void op_protect(struct worker *worker, struct hold *hold)
{
	bool readable = random_one_in(&worker->random, 2);

	place(worker, hold);
	note(worker, hold, readable ? "PROT_READ" : "PROT_NONE");
	protect(hold, readable ? PROT_READ : PROT_NONE);
	if (readable)
		look(worker, hold, "while read-only");
	else
		place(worker, hold);
	protect(hold, PROT_READ | PROT_WRITE);
	note(worker, hold, "PROT_WRITE");
	look(worker, hold, "after mprotect");
}

/* A store of the GPU where the program may not store fails, and changes nothing. What is
 * on the device keeps the rights that it had (docs/limits.md): it is brought home. */
void op_forbid(struct worker *worker, struct hold *hold)
{
	job_reap(&worker->job, true);
	note(worker, hold, "PROT_READ, store");
	protect(hold, PROT_READ);
	prefetch(hold, USVM_PLACE_SYSTEM);
	job_must_fail(run->vm, &worker->job, hold, JOB_STORE, -EPERM);
	check_held(hold, worker->thread, &worker->random, "after a store that is forbidden");
	protect(hold, PROT_READ | PROT_WRITE);
	note(worker, hold, "PROT_WRITE");
}

void op_lock(struct worker *worker, struct hold *hold)
{
	place(worker, hold);
	note(worker, hold, "mlock");
	if (mlock(hold_start(hold), hold->count * PAGE)) {
		worker->refused++;
	} else {
		look(worker, hold, "while locked");
		place(worker, hold);
		if (munlock(hold_start(hold), hold->count * PAGE))
			report_failure(hold->area, "munlock", errno);
		note(worker, hold, "munlock");
	}
	look(worker, hold, "after mlock");
}
