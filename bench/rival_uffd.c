/* SPDX-License-Identifier: MIT */
/*
 * DOC: a userfaultfd, and the thread that reads it
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "rivals.h"
#include "sys/linux_abi.h"

int bench_uffd_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = ABI_UFFD_MOVE | features };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (uffd < 0) /* without the right to faults of the kernel; none happen here */
		uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api)) {
		printf("SKIP: no userfaultfd that moves pages: %s\n", strerror(errno));
		exit(77);
	}
	return uffd;
}

void bench_uffd_register(int uffd, const void *at, size_t bytes)
{
	struct uffdio_register args = {
		.range = { .start = (uintptr_t)at, .len = bytes },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (ioctl(uffd, UFFDIO_REGISTER, &args))
		bench_fail("UFFDIO_REGISTER: %s", strerror(errno));
}

int bench_uffd_move(int uffd, const void *to, const void *from, size_t bytes)
{
	struct abi_uffd_move args = { .dst = (uintptr_t)to,
				      .src = (uintptr_t)from,
				      .bytes = bytes };

	return ioctl(uffd, ABI_UFFD_IOCTL_MOVE, &args) ? -errno : 0;
}

int bench_uffd_copy(int uffd, const void *to, const void *from, size_t bytes)
{
	struct uffdio_copy args = { .dst = (uintptr_t)to,
				    .src = (uintptr_t)from,
				    .len = bytes };

	return ioctl(uffd, UFFDIO_COPY, &args) ? -errno : 0;
}

static void answer_zero(int uffd, uint64_t addr)
{
	struct uffdio_zeropage args = {
		.range = { .start = addr / BENCH_PAGE * BENCH_PAGE, .len = BENCH_PAGE },
	};

	if (ioctl(uffd, UFFDIO_ZEROPAGE, &args))
		bench_fail("UFFDIO_ZEROPAGE: %s", strerror(errno));
}

static void *reader_thread(void *arg)
{
	struct bench_reader *reader = arg;
	struct uffd_msg msg;

	bench_pin(0, reader->core);
	for (;;) {
		if (read(reader->uffd, &msg, sizeof(msg)) != sizeof(msg))
			bench_fail("no message was read: %s", strerror(errno));
		if (msg.event != UFFD_EVENT_PAGEFAULT)
			continue;
		if (msg.arg.pagefault.address / BENCH_PAGE ==
		    (uintptr_t)reader->stop / BENCH_PAGE)
			break;
		reader->answer(reader->arg, msg.arg.pagefault.address);
	}
	answer_zero(reader->uffd, (uintptr_t)reader->stop);
	return NULL;
}

void bench_reader_start(struct bench_reader *reader, uint64_t features, unsigned int core,
			void (*answer)(void *arg, uint64_t addr), void *arg)
{
	reader->uffd = bench_uffd_open(features);
	reader->answer = answer;
	reader->arg = arg;
	reader->core = core;
	reader->stop = bench_map(BENCH_HUGE, false);
	bench_uffd_register(reader->uffd, reader->stop, BENCH_PAGE);
	if (pthread_create(&reader->thread, NULL, reader_thread, reader))
		bench_fail("no thread");
}

/* Behind it nothing is answered any more: what is registered ends with the descriptor. */
void bench_reader_stop(struct bench_reader *reader)
{
	*(volatile unsigned char *)reader->stop;
	pthread_join(reader->thread, NULL);
	close(reader->uffd);
	munmap(reader->stop, BENCH_HUGE);
}
