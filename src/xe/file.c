/* SPDX-License-Identifier: MIT */
/*
 * DOC: Files
 *
 * What a client makes has a number in its file, the lowest that is free, from 1. A table
 * is an array that doubles. At the close what is left goes in this order: queues (their
 * jobs end), address spaces, buffer objects, sync objects.
 */
#include "xe/xe_internal.h"

#include <errno.h>
#include <string.h>

#include "base/host.h"

#define FIRST_SIZE 64

static size_t slots_bytes(uint32_t size)
{
	return size * sizeof(struct xe_object *);
}

int xe_file_open(struct xe_card *card, struct xe_file **out)
{
	struct xe_file *file = xe_alloc(card, sizeof(*file));

	if (!file)
		return -ENOMEM;
	file->card = card;
	file->client = xe_client_create(card);
	if (!file->client) {
		xe_free(card, file, sizeof(*file));
		return -ENOMEM;
	}
	lock_init(&file->lock, LOCK_API_DEVICE, "xe_file.lock");
	*out = file;
	return 0;
}

/* A free slot of @table, or its size: it is full. */
static uint32_t find_free(const struct xe_table *table)
{
	uint32_t i = table->lowest_free;

	while (i < table->size && table->slots[i])
		i++;
	return i;
}

/* Without the lock: another thread may have been faster, which does no harm. */
static int grow(struct xe_file *file, enum xe_kind kind, uint32_t from)
{
	struct xe_table *table = &file->tables[kind];
	uint32_t size = from ? from * 2 : FIRST_SIZE;
	struct xe_object **slots = xe_alloc(file->card, slots_bytes(size));
	struct xe_object **old = slots;
	uint32_t old_size = size;

	if (!slots)
		return -ENOMEM;
	lock_acquire(&file->lock);
	if (table->size == from) {
		old = table->slots;
		old_size = from;
		if (from)
			memcpy(slots, old, slots_bytes(from));
		table->slots = slots;
		table->size = size;
	}
	lock_release(&file->lock);
	xe_free(file->card, old, slots_bytes(old_size));
	return 0;
}

int xe_file_insert(struct xe_file *file, enum xe_kind kind, struct xe_object *object,
		   uint32_t *number)
{
	struct xe_table *table = &file->tables[kind];

	for (;;) {
		uint32_t i, size;
		int err;

		lock_acquire(&file->lock);
		i = find_free(table);
		size = table->size;
		if (i < size) {
			table->slots[i] = object;
			table->lowest_free = i + 1;
			*number = i + 1;
		}
		lock_release(&file->lock);
		if (i < size)
			return 0;
		err = grow(file, kind, size);
		if (err)
			return err;
	}
}

struct xe_object *xe_file_find(struct xe_file *file, enum xe_kind kind, uint32_t number)
{
	struct xe_table *table = &file->tables[kind];
	struct xe_object *object = NULL;

	lock_acquire(&file->lock);
	if (number && number <= table->size)
		object = table->slots[number - 1];
	if (object)
		xe_object_get(object);
	lock_release(&file->lock);
	return object;
}

struct xe_object *xe_file_next(struct xe_file *file, enum xe_kind kind, uint32_t *number)
{
	struct xe_table *table = &file->tables[kind];
	struct xe_object *object = NULL;

	lock_acquire(&file->lock);
	while (!object && *number < table->size)
		object = table->slots[(*number)++];
	if (object)
		xe_object_get(object);
	lock_release(&file->lock);
	return object;
}

struct xe_object *xe_file_remove(struct xe_file *file, enum xe_kind kind, uint32_t number)
{
	struct xe_table *table = &file->tables[kind];
	struct xe_object *object = NULL;

	lock_acquire(&file->lock);
	if (number && number <= table->size)
		object = table->slots[number - 1];
	if (object) {
		table->slots[number - 1] = NULL;
		table->lowest_free = MIN(table->lowest_free, number - 1);
	}
	lock_release(&file->lock);
	return object;
}

void xe_object_put(struct xe_object *object)
{
	if (object && ATOMIC_SUB(&object->references, 1) == 1)
		object->destroy(object);
}

void xe_file_close(struct xe_file *file)
{
	static const enum xe_kind order[] = { XE_KIND_QUEUE, XE_KIND_VM, XE_KIND_BO,
					      XE_KIND_SYNCOBJ };

	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		struct xe_table *table = &file->tables[order[i]];

		for (uint32_t n = 1; n <= table->size; n++) {
			struct xe_object *object = xe_file_remove(file, order[i], n);

			if (object && order[i] == XE_KIND_QUEUE)
				xe_queue_kill(xe_queue_of(object));
			if (object && order[i] == XE_KIND_VM)
				xe_vm_close(xe_vm_of(object));
			xe_object_put(object);
		}
		xe_free(file->card, table->slots, slots_bytes(table->size));
	}
	xe_queues_bury(file->card);
	xe_client_put(file->client);
	xe_free(file->card, file, sizeof(*file));
}
