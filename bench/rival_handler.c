/* SPDX-License-Identifier: MIT */
/*
 * DOC: the floor
 *
 * A fault is answered with one UFFDIO_MOVE, which also wakes: no table, no lock, no
 * event. Taking is the same call the other way.
 */
#include <sys/mman.h>

#include "bench.h"
#include "rivals.h"

static void move_home(void *arg, uint64_t addr)
{
	const struct bench_handler *handler = arg;

	bench_handler_return(handler, addr - (uintptr_t)handler->home);
}

void bench_handler_start(struct bench_handler *handler, size_t unit, size_t bytes, bool huge,
			 unsigned int core)
{
	handler->home = bench_map(bytes, huge);
	handler->away = bench_map(bytes, huge);
	handler->unit = unit;
	handler->bytes = bytes;
	bench_fill(handler->home, bytes);
	bench_reader_start(&handler->reader, 0, core, move_home, handler);
	bench_uffd_register(handler->reader.uffd, handler->home, bytes);
	bench_uffd_register(handler->reader.uffd, handler->away, bytes);
}

void bench_handler_take(const struct bench_handler *handler, size_t offset)
{
	bench_must(bench_uffd_move(handler->reader.uffd, handler->away + offset,
				   handler->home + offset, handler->unit),
		   "UFFDIO_MOVE");
}

void bench_handler_return(const struct bench_handler *handler, size_t offset)
{
	offset = offset / handler->unit * handler->unit;
	bench_must(bench_uffd_move(handler->reader.uffd, handler->home + offset,
				   handler->away + offset, handler->unit),
		   "UFFDIO_MOVE");
}

void bench_handler_take_all(const struct bench_handler *handler)
{
	for (size_t i = 0; i < handler->bytes; i += handler->unit)
		bench_handler_take(handler, i);
	if (bench_present(handler->home, handler->bytes, NULL))
		bench_fail("pages stayed at home");
}

void bench_handler_stop(struct bench_handler *handler)
{
	bench_reader_stop(&handler->reader);
	munmap(handler->home, handler->bytes);
	munmap(handler->away, handler->bytes);
}
