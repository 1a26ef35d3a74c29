/* SPDX-License-Identifier: MIT */
/*
 * DOC: which pages are there
 *
 * PAGEMAP_SCAN returns runs of equal pages and skips what has no page table.
 * struct sys_page_run has the size and the fields' places of the kernel's
 * region on purpose: the kernel writes into the caller's array, and each
 * element is translated where it lies.
 *
 * Without it, /proc/self/pagemap has one word a page, which tells present and
 * swapped (or a marker) and nothing else that we use.
 */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "sys/linux_abi.h"
#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

_Static_assert(sizeof(struct sys_page_run) == sizeof(struct abi_page_region),
	       "translated in place");
_Static_assert(offsetof(struct sys_page_run, flags) ==
		       offsetof(struct abi_page_region, categories),
	       "translated in place");

static uint32_t flags_of(uint64_t categories)
{
	static const struct {
		uint32_t category;
		uint32_t flag;
	} map[] = {
		{ ABI_PAGE_PRESENT, SYS_PAGE_PRESENT },
		{ ABI_PAGE_SWAPPED, SYS_PAGE_SWAPPED },
		{ ABI_PAGE_HUGE, SYS_PAGE_HUGE },
		{ ABI_PAGE_ZERO, SYS_PAGE_ZERO },
		{ ABI_PAGE_WRITTEN, SYS_PAGE_WRITTEN },
		{ ABI_PAGE_GUARD, SYS_PAGE_GUARD },
	};
	uint32_t flags = 0;

	for (size_t i = 0; i < ARRAY_SIZE(map); i++) {
		if (categories & map[i].category)
			flags |= map[i].flag;
	}
	return flags;
}

static int scan_by_ioctl(const struct linux_sys *sys, int fd, struct span span,
			 struct sys_page_run *runs, size_t max, size_t *count,
			 uint64_t *end)
{
	uint64_t guard = sys->scan_tells_guards ? ABI_PAGE_GUARD : 0;
	struct abi_page_scan scan = {
		.struct_bytes = sizeof(scan),
		.start = span.start,
		.end = span.end,
		.regions_addr = (uintptr_t)runs,
		.region_count_max = max,
		.any_of = ABI_PAGE_PRESENT | ABI_PAGE_SWAPPED | guard,
		.report = ABI_PAGE_PRESENT | ABI_PAGE_SWAPPED | ABI_PAGE_HUGE |
			  ABI_PAGE_ZERO | ABI_PAGE_WRITTEN | guard,
	};
	int64_t got = linux_call(SYS_ioctl, fd, ABI_PAGE_IOCTL_SCAN, &scan);

	if (got < 0)
		return (int)got;
	for (size_t i = 0; i < (size_t)got; i++) {
		struct abi_page_region region;

		memcpy(&region, &runs[i], sizeof(region));
		runs[i] = (struct sys_page_run){
			.span = { region.start, region.end },
			.flags = flags_of(region.categories),
		};
	}
	*count = (size_t)got;
	*end = scan.walk_end;
	return 0;
}

struct run_writer {
	struct sys_page_run *runs;
	size_t max;
	size_t count;
};

/* Add one page. Return: false if it needs a run and there is no room. */
static bool add_page(struct run_writer *w, uint64_t addr, uint32_t flags)
{
	struct sys_page_run *last = w->count ? &w->runs[w->count - 1] : NULL;

	if (!flags)
		return true;
	if (last && last->span.end == addr && last->flags == flags) {
		last->span.end += PAGE_BYTES;
		return true;
	}
	if (w->count == w->max)
		return false;
	w->runs[w->count++] = (struct sys_page_run){
		.span = span_make(addr, PAGE_BYTES),
		.flags = flags,
	};
	return true;
}

static int scan_by_words(int fd, struct span span, struct run_writer *w,
			 uint64_t *end)
{
	uint64_t words[512];
	uint64_t addr = span.start;

	while (addr < span.end) {
		uint64_t left = (span.end - addr) / PAGE_BYTES;
		uint64_t bytes = MIN(left * sizeof(words[0]), sizeof(words));
		int64_t got = linux_call(SYS_pread64, fd, words, bytes,
					 addr / PAGE_BYTES * sizeof(words[0]));

		if (got < 0)
			return (int)got;
		if (got == 0)
			break;
		for (size_t i = 0; i < (size_t)got / sizeof(words[0]); i++) {
			uint32_t flags = 0;

			if (words[i] & ABI_PAGEMAP_PRESENT)
				flags |= SYS_PAGE_PRESENT;
			if (words[i] & ABI_PAGEMAP_SWAPPED)
				flags |= SYS_PAGE_SWAPPED;
			if (!add_page(w, addr, flags)) {
				*end = addr;
				return 0;
			}
			addr += PAGE_BYTES;
		}
	}
	*end = span.end;
	return 0;
}

int linux_page_scan(struct sys *sys, struct span span, struct sys_page_run *runs,
		    size_t max, size_t *count, uint64_t *end)
{
	struct run_writer writer = { .runs = runs, .max = max };
	int own = linux_tls.files.pagemap;
	int fd;
	int err;

	ASSERT(IS_ALIGNED(span.start, PAGE_BYTES));
	ASSERT(IS_ALIGNED(span.end, PAGE_BYTES));
	ASSERT(max > 0);
	*count = 0;
	*end = span.start;
	if (span_is_empty(span))
		return 0;
	err = linux_files_borrow(own, "/proc/thread-self/pagemap", &fd);
	if (err)
		return err;
	if (sys_has(sys, SYS_FEATURE_PAGEMAP_SCAN)) {
		err = scan_by_ioctl(linux_of(sys), fd, span, runs, max, count,
				    end);
	} else {
		err = scan_by_words(fd, span, &writer, end);
		*count = writer.count;
	}
	linux_files_return(own, fd);
	return err;
}
