/* SPDX-License-Identifier: MIT */
/*
 * DOC: mprotect() and SIGSEGV
 *
 * What compute runtimes do where the kernel does not help: an allocation has two copies.
 * While the device uses its own, the program's is forbidden; a touch raises SIGSEGV, whose
 * handler copies all of it back and allows it.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "rivals.h"

static const struct bench_protect *current;
static struct sigaction before;

static void handle(int signal, siginfo_t *info, void *context)
{
	const struct bench_protect *p = current;
	size_t offset = (uintptr_t)info->si_addr - (uintptr_t)p->home;

	(void)signal;
	(void)context;
	if (offset >= p->bytes || mprotect(p->home, p->bytes, PROT_READ | PROT_WRITE))
		_exit(1);
	memcpy(p->home, p->store, p->bytes);
}

void bench_protect_start(struct bench_protect *protect, size_t bytes, bool huge)
{
	struct sigaction action = { .sa_sigaction = handle, .sa_flags = SA_SIGINFO };

	protect->home = bench_map(bytes, huge);
	protect->store = bench_map(bytes, huge);
	protect->bytes = bytes;
	bench_fill(protect->home, bytes);
	bench_fill(protect->store, bytes);
	current = protect;
	if (sigaction(SIGSEGV, &action, &before))
		bench_fail("sigaction: %s", strerror(errno));
}

void bench_protect_take(const struct bench_protect *protect)
{
	memcpy(protect->store, protect->home, protect->bytes);
	if (mprotect(protect->home, protect->bytes, PROT_NONE))
		bench_fail("mprotect: %s", strerror(errno));
}

void bench_protect_stop(struct bench_protect *protect)
{
	sigaction(SIGSEGV, &before, NULL);
	munmap(protect->home, protect->bytes);
	munmap(protect->store, protect->bytes);
}
