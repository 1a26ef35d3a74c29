/* SPDX-License-Identifier: MIT */
/*
 * DOC: Memory and copies
 *
 * Objects of xe are made by the client's threads and given back by anyone, an engine
 * too. Pools are not for the client's threads (their lock is the monitor's), so xe has
 * free lists of its own under a leaf: powers of two up to half a page; what is larger is
 * whole pages. The first object of a page is the link to the next page of the card.
 *
 * A client's pointer may be wrong, or its page on the device: it is followed by the
 * guarded accessor only, with no lock held. It may have put a handler of its own in front
 * of ours: that is looked at once in each ioctl, and before what is done for a job.
 */
#include "xe/xe_internal.h"

#include <errno.h>
#include <string.h>

#include "base/host.h"

#define SMALLEST_SHIFT 6

struct chunk {
	struct chunk *next;
};

#define ACCESS_BYTES_MAX PAGE_BYTES

static unsigned int class_of(size_t bytes)
{
	unsigned int class = 0;

	while (bytes > 1ull << (SMALLEST_SHIFT + class))
		class++;
	return class;
}

static bool is_large(size_t bytes)
{
	return bytes > PAGE_BYTES / 2;
}

/* Cut a page into objects of a class and put them on its list. */
static void *refill(struct xe_card *card, unsigned int class)
{
	size_t bytes = 1ull << (SMALLEST_SHIFT + class);
	unsigned char *page = base_host->pages_alloc(PAGE_BYTES);
	struct chunk *chunk = (void *)page;

	if (!page)
		return NULL;
	lock_acquire(&card->memory_lock);
	chunk->next = card->chunks;
	card->chunks = chunk;
	for (size_t at = 2 * bytes; at < PAGE_BYTES; at += bytes) {
		*(void **)(void *)(page + at) = card->free[class];
		card->free[class] = page + at;
	}
	lock_release(&card->memory_lock);
	return page + bytes;
}

void xe_memory_fini(struct xe_card *card)
{
	struct chunk *chunk = card->chunks;

	while (chunk) {
		struct chunk *next = chunk->next;

		base_host->pages_free(chunk, PAGE_BYTES);
		chunk = next;
	}
}

void *xe_alloc(struct xe_card *card, size_t bytes)
{
	unsigned int class;
	void *memory;

	if (is_large(bytes))
		return base_host->pages_alloc(ALIGN_UP(bytes, PAGE_BYTES));
	class = class_of(bytes);
	lock_acquire(&card->memory_lock);
	memory = card->free[class];
	if (memory)
		card->free[class] = *(void **)memory;
	lock_release(&card->memory_lock);
	if (!memory)
		return refill(card, class);
	memset(memory, 0, 1ull << (SMALLEST_SHIFT + class));
	return memory;
}

void xe_free(struct xe_card *card, void *memory, size_t bytes)
{
	unsigned int class;

	if (!memory)
		return;
	if (is_large(bytes)) {
		base_host->pages_free(memory, ALIGN_UP(bytes, PAGE_BYTES));
		return;
	}
	class = class_of(bytes);
	lock_acquire(&card->memory_lock);
	*(void **)memory = card->free[class];
	card->free[class] = memory;
	lock_release(&card->memory_lock);
}

static int copy(struct xe_card *card, enum sys_access_op op, uint64_t client, void *own,
		size_t bytes)
{
	unsigned char *at = own;

	while (bytes) {
		uint32_t part = (uint32_t)MIN(bytes, ACCESS_BYTES_MAX);
		int err = card->sys->ops->access(card->sys, op, client, at, part);

		if (err == -EINTR)
			continue;
		if (err)
			return -EFAULT;
		client += part;
		at += part;
		bytes -= part;
	}
	return 0;
}

int xe_copy_check(struct xe_card *card)
{
	return card->sys->ops->check_signal_handlers(card->sys) ? -EFAULT : 0;
}

int xe_copy_in(struct xe_card *card, void *to, uint64_t from, size_t bytes)
{
	return copy(card, SYS_ACCESS_READ, from, to, bytes);
}

int xe_copy_out(struct xe_card *card, uint64_t to, const void *from, size_t bytes)
{
	/* A WRITE only reads its buffer. */
	return copy(card, SYS_ACCESS_WRITE, to, (void *)(uintptr_t)from, bytes);
}

int xe_refuse(struct xe_card *card, int err, const char *why)
{
	if (card->log)
		card->log(why);
	return err;
}
