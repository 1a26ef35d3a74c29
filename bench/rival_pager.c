/* SPDX-License-Identifier: MIT */
/*
 * DOC: a pager
 *
 * A fault is answered with UFFDIO_COPY of one page out of a store. Pages go there by a
 * copy, and are given back to the kernel.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "rivals.h"

static void copy_home(void *arg, uint64_t addr)
{
	const struct bench_pager *pager = arg;
	size_t offset = (addr - (uintptr_t)pager->home) / BENCH_PAGE * BENCH_PAGE;

	bench_must(bench_uffd_copy(pager->reader.uffd, pager->home + offset,
				   pager->store + offset, BENCH_PAGE),
		   "UFFDIO_COPY");
}

void bench_pager_start(struct bench_pager *pager, size_t bytes, unsigned int core)
{
	pager->home = bench_map(bytes, false);
	pager->store = bench_map(bytes, false);
	pager->bytes = bytes;
	bench_fill(pager->home, bytes);
	bench_fill(pager->store, bytes);
	bench_reader_start(&pager->reader, 0, core, copy_home, pager);
	bench_uffd_register(pager->reader.uffd, pager->home, bytes);
}

void bench_pager_take_all(const struct bench_pager *pager)
{
	memcpy(pager->store, pager->home, pager->bytes);
	if (madvise(pager->home, pager->bytes, MADV_DONTNEED))
		bench_fail("madvise: %s", strerror(errno));
	if (bench_present(pager->home, pager->bytes, NULL))
		bench_fail("pages stayed at home");
}

void bench_pager_stop(struct bench_pager *pager)
{
	bench_reader_stop(&pager->reader);
	munmap(pager->home, pager->bytes);
	munmap(pager->store, pager->bytes);
}
