/* SPDX-License-Identifier: MIT */
/*
 * DOC: memory of the library's own
 *
 * The arena is mapped far from where the kernel puts the program's mappings:
 * next to one of those, with the same permissions, the two would become one
 * mapping, and what is done to one would be seen at the other. The hint is
 * tried with MAP_FIXED_NOREPLACE, in steps upwards, and given up for any place
 * at all rather than fail.
 */
#include <errno.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "sys/linux_abi.h"
#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

#define MAP_FLAGS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
#define HINT_TRIES 32

/*
 * What is mapped here is the library's own as its pages are: it never migrates. Threads
 * of the program and the monitor come here, so the list has no lock: a slot is claimed
 * by MAPPED_CLAIMED, and is whole when its start is an address.
 */
#define MAPPED_COUNT_MAX 256
#define MAPPED_CLAIMED 1ull

static struct span mapped[MAPPED_COUNT_MAX]; /* atomic; start 0: free */

/* Return: false: there is no room. */
static bool mapped_add(struct span span)
{
	for (size_t i = 0; i < MAPPED_COUNT_MAX; i++) {
		uint64_t expected = 0;

		if (!ATOMIC_COMPARE_EXCHANGE(&mapped[i].start, &expected, MAPPED_CLAIMED))
			continue;
		ATOMIC_STORE(&mapped[i].end, span.end);
		ATOMIC_STORE(&mapped[i].start, span.start);
		return true;
	}
	return false;
}

static void mapped_remove(uint64_t start)
{
	for (size_t i = 0; i < MAPPED_COUNT_MAX; i++) {
		if (ATOMIC_LOAD(&mapped[i].start) == start)
			ATOMIC_STORE(&mapped[i].start, 0);
	}
}

void linux_memory_spans(struct span *spans, size_t max, size_t *count)
{
	for (size_t i = 0; i < MAPPED_COUNT_MAX; i++) {
		uint64_t start = ATOMIC_LOAD(&mapped[i].start);
		struct span span = { start, ATOMIC_LOAD(&mapped[i].end) };

		if (start <= MAPPED_CLAIMED || ATOMIC_LOAD(&mapped[i].start) != start)
			continue;
		if (*count < max)
			spans[*count] = span;
		(*count)++;
	}
}

void linux_memory_forget(void)
{
	for (size_t i = 0; i < MAPPED_COUNT_MAX; i++)
		mapped[i].start = 0;
}

static bool is_error(int64_t result)
{
	return result < 0 && result >= -4095;
}

static uint64_t map_at(uint64_t addr, uint64_t bytes, int prot)
{
	int64_t got = linux_call(SYS_mmap, addr, bytes, prot,
				 MAP_FLAGS | MAP_FIXED_NOREPLACE, -1, 0);

	if (is_error(got))
		return 0;
	/* Before 4.17 the flag is not known and the address a mere wish. */
	if ((uint64_t)got != addr) {
		linux_call(SYS_munmap, got, bytes);
		return 0;
	}
	return addr;
}

static uint64_t map_anywhere(uint64_t bytes, uint64_t align, int prot)
{
	uint64_t spare = align > PAGE_BYTES ? align : 0;
	int64_t got = linux_call(SYS_mmap, 0, bytes + spare, prot, MAP_FLAGS,
				 -1, 0);
	struct span all;
	struct span ours;

	if (is_error(got))
		return 0;
	all = span_make((uint64_t)got, bytes + spare);
	ours = span_make(ALIGN_UP(all.start, align), bytes);
	if (all.start < ours.start)
		linux_call(SYS_munmap, all.start, ours.start - all.start);
	if (ours.end < all.end)
		linux_call(SYS_munmap, ours.end, all.end - ours.end);
	return ours.start;
}

uint64_t linux_map_near(uint64_t hint, uint64_t bytes, uint64_t align, int prot)
{
	uint64_t step = ALIGN_UP(bytes + PAGE_BYTES, MAX(align, GIB(1)));
	uint64_t addr = ALIGN_UP(hint, align);

	for (int i = 0; hint && i < HINT_TRIES; i++, addr += step) {
		uint64_t got = map_at(addr, bytes, prot);

		if (got)
			return got;
	}
	return map_anywhere(bytes, align, prot);
}

int linux_map(struct sys *sys UNUSED, uint64_t bytes, uint64_t align,
	      uint64_t hint, uint64_t *addr)
{
	uint64_t got;
	int err;

	ASSERT(bytes > 0);
	ASSERT(IS_ALIGNED(bytes, PAGE_BYTES));
	ASSERT(align >= PAGE_BYTES);
	ASSERT((align & (align - 1)) == 0);
	got = linux_map_near(hint, bytes, align, PROT_READ | PROT_WRITE);
	if (!got)
		return -ENOMEM;
	err = (int)linux_call(SYS_madvise, got, bytes, MADV_DONTFORK);
	if (!err)
		err = (int)linux_call(SYS_madvise, got, bytes, MADV_DONTDUMP);
	if (!err && !mapped_add(span_make(got, bytes)))
		err = -ENOMEM;
	if (err) {
		linux_call(SYS_munmap, got, bytes);
		return err;
	}
	*addr = got;
	return 0;
}

void linux_unmap(struct sys *sys UNUSED, uint64_t addr, uint64_t bytes)
{
	/* What the program maps there next is the program's. */
	mapped_remove(addr);
	linux_call(SYS_munmap, addr, bytes);
}

/* Kernels before 5.18 have no word for locked memory. */
int linux_discard(struct span span)
{
	int err = (int)linux_call(SYS_madvise, span.start, span_bytes(span),
				  ABI_MADV_DONTNEED_LOCKED);

	if (err == -EINVAL)
		err = (int)linux_call(SYS_madvise, span.start, span_bytes(span),
				      MADV_DONTNEED);
	return err;
}

int linux_advise(struct sys *sys UNUSED, struct span span,
		 enum sys_advice advice)
{
	static const int values[] = {
		[SYS_ADVICE_HUGEPAGE] = MADV_HUGEPAGE,
		[SYS_ADVICE_NOHUGEPAGE] = MADV_NOHUGEPAGE,
		[SYS_ADVICE_DONTFORK] = MADV_DONTFORK,
		[SYS_ADVICE_DOFORK] = MADV_DOFORK,
		[SYS_ADVICE_DONTDUMP] = MADV_DONTDUMP,
		[SYS_ADVICE_POPULATE_WRITE] = ABI_MADV_POPULATE_WRITE,
		[SYS_ADVICE_COLLAPSE] = ABI_MADV_COLLAPSE,
	};

	if (advice == SYS_ADVICE_DONTNEED)
		return linux_discard(span);
	ASSERT((size_t)advice < ARRAY_SIZE(values));
	return (int)linux_call(SYS_madvise, span.start, span_bytes(span),
			       values[advice]);
}

/* Where the memory is no file's, msync() asks for nothing but this. */
bool linux_is_mlocked(struct sys *sys UNUSED, struct span span)
{
	return linux_call(SYS_msync, span.start, span_bytes(span), MS_INVALIDATE) == -EBUSY;
}

/* Installing guards zaps what is there and tells nobody; removing them leaves
 * holes. Both want the memory private, anonymous and not locked. */
int linux_empty(struct sys *sys, struct span span)
{
	int err;

	if (!sys_has(sys, SYS_FEATURE_GUARD))
		return -EOPNOTSUPP;
	err = (int)linux_call(SYS_madvise, span.start, span_bytes(span),
			      ABI_MADV_GUARD_INSTALL);
	if (err)
		return err;
	return (int)linux_call(SYS_madvise, span.start, span_bytes(span),
			       ABI_MADV_GUARD_REMOVE);
}

void *linux_pointer(struct sys *sys UNUSED, uint64_t addr,
		    uint64_t bytes UNUSED)
{
	return (void *)(uintptr_t)addr;
}
