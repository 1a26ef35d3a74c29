/* SPDX-License-Identifier: MIT */
/*
 * DOC: One request through an io_uring with a registered buffer
 *
 * By hand: a ring of one entry, made, used and closed. Registering pins the pages.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "live/support/calls.h"

struct ring {
	int fd;
	struct io_uring_params params;
	unsigned char *queues; /* both, IORING_FEAT_SINGLE_MMAP */
	size_t queues_bytes;
	struct io_uring_sqe *entries;
	size_t entries_bytes;
};

static int ring_open(struct ring *ring)
{
	struct io_uring_params *p = &ring->params;
	size_t submit_bytes, complete_bytes;

	ring->fd = (int)syscall(SYS_io_uring_setup, 1, p);
	if (ring->fd < 0)
		return -errno;
	submit_bytes = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
	complete_bytes = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
	ring->queues_bytes = submit_bytes > complete_bytes ? submit_bytes : complete_bytes;
	ring->entries_bytes = p->sq_entries * sizeof(struct io_uring_sqe);
	ring->queues = mmap(NULL, ring->queues_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
			    ring->fd, IORING_OFF_SQ_RING);
	ring->entries = mmap(NULL, ring->entries_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
			     ring->fd, IORING_OFF_SQES);
	assert_ptr_not_equal(ring->queues, MAP_FAILED);
	assert_ptr_not_equal(ring->entries, MAP_FAILED);
	return 0;
}

static void ring_close(struct ring *ring)
{
	munmap(ring->queues, ring->queues_bytes);
	munmap(ring->entries, ring->entries_bytes);
	close(ring->fd);
}

static uint32_t *word(struct ring *ring, uint32_t offset)
{
	return (uint32_t *)(void *)(ring->queues + offset);
}

/* Submit one entry and wait for it. Return: its result. */
static int ring_do(struct ring *ring, const struct io_uring_sqe *entry)
{
	struct io_uring_cqe *complete =
		(struct io_uring_cqe *)(void *)(ring->queues + ring->params.cq_off.cqes);
	uint32_t *tail = word(ring, ring->params.sq_off.tail);
	uint32_t *head = word(ring, ring->params.cq_off.head);
	uint32_t mask = *word(ring, ring->params.cq_off.ring_mask);
	uint32_t at = *head;
	int result;

	ring->entries[0] = *entry;
	*word(ring, ring->params.sq_off.array) = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	assert_int_equal(syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS,
				 NULL, 0), 1);
	assert_int_not_equal(__atomic_load_n(word(ring, ring->params.cq_off.tail),
					     __ATOMIC_ACQUIRE), at);
	result = complete[at & mask].res;
	__atomic_store_n(head, at + 1, __ATOMIC_RELEASE);
	return result;
}

int call_uring_fixed(int fd, bool write, void *at, size_t bytes, const char **why,
		     void (*pinned)(void *arg), void *arg)
{
	struct io_uring_sqe entry = {
		.opcode = write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED,
		.fd = fd,
		.addr = (uintptr_t)at,
		.len = (uint32_t)bytes,
	};
	struct iovec buffer = { at, bytes };
	struct ring ring = { 0 };
	int err = ring_open(&ring);

	if (err) {
		*why = "no io_uring here";
		return CALL_SKIPPED;
	}
	if (syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, &buffer, 1) < 0)
		err = -errno;
	if (!err && pinned)
		pinned(arg);
	if (!err)
		err = ring_do(&ring, &entry);
	if (err > 0)
		err = err == (int)bytes ? 0 : -EIO;
	/* Closing the ring unpins later: this does it now. */
	if (!err)
		assert_int_equal(syscall(SYS_io_uring_register, ring.fd,
					 IORING_UNREGISTER_BUFFERS, NULL, 0), 0);
	ring_close(&ring);
	return err;
}
