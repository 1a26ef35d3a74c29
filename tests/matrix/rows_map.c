/* SPDX-License-Identifier: MIT */
/*
 * DOC: Rows: mappings come, go and move
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rows.h"

#define ANYONE (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)

void as_it_is(struct cell *c)
{
	(void)c;
}

/* Three mappings: they differ in a flag that nothing here looks at. */
void split(struct cell *c)
{
	assert_int_equal(madvise(c->at + c->part, 2 * c->part, MADV_DONTDUMP), 0);
}

static void note_map(struct cell *c, void *wanted, void *got)
{
	if (got == MAP_FAILED)
		cell_note(c, "mmap", -errno);
	else
		cell_note(c, "mmap", (char *)got - (char *)wanted);
}

static void map_over(struct cell *c, unsigned char *at, size_t bytes, int prot)
{
	note_map(c, at, mmap(at, bytes, prot, ANYONE | MAP_FIXED, -1, 0));
}

static void unmap(struct cell *c, unsigned char *at, size_t bytes)
{
	cell_result(c, "munmap", munmap(at, bytes));
}

/* --- over it, and away ---------------- */

void map_over_all(struct cell *c)
{
	map_over(c, c->at, c->bytes, RW);
	live_fill(c->at + c->part, c->part, 2, 0);
}

void map_over_part(struct cell *c)
{
	map_over(c, c->at + c->part, 2 * c->part, RW);
	live_fill(c->at + c->part + LIVE_PAGE, c->part, 2, 0);
}

void map_over_file(struct cell *c)
{
	int fd = memfd_create("matrix", MFD_CLOEXEC);

	live_fill(shared->buffer, 2 * c->part, 3, 0);
	cell_result(c, "write", write(fd, shared->buffer, 2 * c->part));
	note_map(c, c->at + c->part,
		 mmap(c->at + c->part, 2 * c->part, RW, MAP_PRIVATE | MAP_FIXED, fd, 0));
	live_fill(c->at + c->part, LIVE_PAGE, 4, 0);
	close(fd);
}

void map_over_none(struct cell *c)
{
	map_over(c, c->at + c->part, 2 * c->part, PROT_NONE);
	cell_look(c, "none", c->at + c->part, 2 * c->part);
	cell_result(c, "mprotect", mprotect(c->at + c->part, c->part, RW));
	live_fill(c->at + c->part, LIVE_PAGE, 5, 0);
}

void map_beside(struct cell *c)
{
	map_over(c, c->at + c->bytes, c->part, RW);
	map_over(c, c->at - c->part, c->part, RW);
	live_fill(c->at + c->bytes, LIVE_PAGE, 6, 0);
	live_fill(c->at - LIVE_PAGE, LIVE_PAGE, 6, LIVE_PAGE);
	cell_watch(c, c->at + c->bytes, c->part);
	cell_watch(c, c->at - c->part, c->part);
}

void unmap_all(struct cell *c)
{
	unmap(c, c->at, c->bytes);
}

void unmap_head(struct cell *c)
{
	unmap(c, c->at, c->part + LIVE_PAGE);
}

void unmap_middle(struct cell *c)
{
	unmap(c, c->at + c->part - LIVE_PAGE, 2 * c->part);
}

void unmap_tail(struct cell *c)
{
	unmap(c, c->at + 3 * c->part - LIVE_PAGE, c->part + LIVE_PAGE);
}

void unmap_more(struct cell *c)
{
	unmap(c, c->at - c->part, c->bytes + 2 * c->part);
}

void unmap_every_other(struct cell *c)
{
	for (size_t i = 0; i < c->bytes; i += 2 * LIVE_PAGE)
		unmap(c, c->at + i, LIVE_PAGE);
}

void unmap_and_map(struct cell *c)
{
	unmap(c, c->at, c->bytes);
	note_map(c, c->at, mmap(c->at, c->bytes, RW, ANYONE | MAP_FIXED_NOREPLACE, -1, 0));
	live_fill(c->at, c->bytes / 2, 7, 0);
}

/* --- the heap ---------------- */

void heap_grows(struct cell *c)
{
	cell_result(c, "brk", brk(c->at + 2 * c->bytes));
	cell_look(c, "new", c->at + c->bytes, c->bytes);
	live_fill(c->at + c->bytes, c->part, 8, 0);
	cell_watch(c, c->at + c->bytes, c->bytes);
}

void heap_shrinks(struct cell *c)
{
	cell_result(c, "brk", brk(c->at + 2 * c->part));
	cell_look(c, "shrunk", c->at, c->bytes);
	cell_result(c, "brk", brk(c->at + c->bytes));
	live_fill(c->at + 3 * c->part, LIVE_PAGE, 8, 0);
}

/* --- mremap ---------------- */

static void move(struct cell *c, unsigned char *at, size_t old, size_t new, int flags,
		 unsigned char *to)
{
	void *got = mremap(at, old, new, flags, to);

	if (got == MAP_FAILED)
		cell_note(c, "mremap", -errno);
	else
		cell_note(c, "mremap", (unsigned char *)got - (flags & MREMAP_FIXED ? to : at));
}

static void move_to(struct cell *c, unsigned char *at, size_t bytes, unsigned char *to)
{
	move(c, at, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to);
}

void remap_move(struct cell *c)
{
	move_to(c, c->at, c->bytes, c->to);
	cell_watch(c, c->to, c->bytes);
}

void remap_back(struct cell *c)
{
	move_to(c, c->at, c->bytes, c->to);
	live_fill(c->to + c->part, LIVE_PAGE, 2, 0);
	move_to(c, c->to, c->bytes, c->at);
	cell_watch(c, c->to, c->bytes);
}

void remap_anywhere(struct cell *c)
{
	unsigned char *to;

	map_over(c, c->at + c->bytes, LIVE_PAGE, PROT_NONE); /* no room to grow */
	to = mremap(c->at, c->bytes, 2 * c->bytes, MREMAP_MAYMOVE);
	cell_note(c, "mremap", to == MAP_FAILED ? -errno : to != c->at);
	cell_watch(c, to, 2 * c->bytes);
}

void remap_grow(struct cell *c)
{
	unmap(c, c->at + c->bytes, c->bytes); /* room */
	move(c, c->at, c->bytes, 2 * c->bytes, 0, NULL);
	live_fill(c->at + c->bytes, c->part, 2, 0);
	cell_watch(c, c->at + c->bytes, c->bytes);
}

void remap_grow_move(struct cell *c)
{
	move(c, c->at, c->bytes, 2 * c->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, c->to);
	live_fill(c->to + c->bytes, c->part, 2, 0);
	cell_watch(c, c->to, 2 * c->bytes);
}

void remap_shrink(struct cell *c)
{
	move(c, c->at, c->bytes, 2 * c->part, 0, NULL);
}

void remap_shrink_move(struct cell *c)
{
	move(c, c->at, c->bytes, 2 * c->part, MREMAP_MAYMOVE | MREMAP_FIXED, c->to);
	cell_watch(c, c->to, c->bytes);
}

void remap_part(struct cell *c)
{
	move_to(c, c->at + c->part, 2 * c->part, c->to);
	cell_watch(c, c->to, 2 * c->part);
}

void remap_pages(struct cell *c)
{
	for (size_t i = 0; i < c->bytes; i += 2 * LIVE_PAGE)
		move_to(c, c->at + i, LIVE_PAGE, c->to + i);
	cell_watch(c, c->to, c->bytes);
}

void remap_onto(struct cell *c)
{
	map_over(c, c->to, 2 * c->bytes, RW);
	live_fill(c->to, 2 * c->bytes, 3, 0);
	if (c->live.gpu)
		live_take(&c->live, c->to, 2 * c->bytes);
	move_to(c, c->at, c->bytes, c->to);
	cell_watch(c, c->to, 2 * c->bytes);
}

void remap_onto_self(struct cell *c)
{
	move_to(c, c->at, c->bytes, c->at + c->part);
	move_to(c, c->at + LIVE_PAGE, c->part, c->at);
}

static void dontunmap(struct cell *c, unsigned char *at, size_t bytes)
{
	move(c, at, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | LIVE_MREMAP_DONTUNMAP, c->to);
	live_fill(at + LIVE_PAGE, LIVE_PAGE, 4, 0);
	cell_watch(c, c->to, bytes);
}

void remap_dontunmap(struct cell *c)
{
	dontunmap(c, c->at, c->bytes);
}

void remap_dontunmap_part(struct cell *c)
{
	dontunmap(c, c->at + c->part, 2 * c->part);
}

void remap_each(struct cell *c)
{
	move_to(c, c->at, c->part, c->to);
	move_to(c, c->at + c->part, 2 * c->part, c->to + c->part);
	move_to(c, c->at + 3 * c->part, c->part, c->to + 3 * c->part);
	cell_watch(c, c->to, c->bytes);
}

void remap_split_after(struct cell *c)
{
	cell_result(c, "mprotect", mprotect(c->at + c->part, c->part, PROT_READ));
	move_to(c, c->at + c->part, c->part, c->to);
	move_to(c, c->at + 2 * c->part, 2 * c->part, c->to + c->part);
	cell_result(c, "mprotect", mprotect(c->to, c->part, RW));
	cell_watch(c, c->to, 3 * c->part);
}

/* Without MREMAP_FIXED no kernel does; with it, Linux 6.17. */
void remap_several(struct cell *c)
{
	move(c, c->at, c->bytes, 2 * c->bytes, MREMAP_MAYMOVE, NULL);
}

void remap_several_fixed(struct cell *c)
{
	move_to(c, c->at, c->bytes, c->to);
	cell_watch(c, c->to, c->bytes);
}
