/* SPDX-License-Identifier: MIT */
/*
 * DOC: Buffer objects
 *
 * Two areas are objects. The program maps them, and the GPU has them bound at the same
 * addresses, so that whoever uses pages uses these as well; a step may put them elsewhere,
 * or change what is bound, and who needs device memory evicts them. Each thread has objects
 * of its own, too, which the GPU alone reaches: they push out the rest, and each other.
 */
#include <errno.h>
#include <inttypes.h>

#include "oracle.h"

/* GPU addresses at which the program has nothing. */
#define ALIAS_ZONE 0x500000000000ul
#define ALIAS_BYTES (64ul << 20)
#define OWN_ZONE 0x580000000000ul
#define OWN_BYTES_MAX (1ul << 20)

void object_create(struct area *area)
{
	struct usvm_bo_config config = { .bytes = area->pages * PAGE };
	void *base;

	must(usvm_bo_create(run->gpu, &config, &area->object), "usvm_bo_create");
	must(usvm_bo_map(area->object, 0, config.bytes, &base), "usvm_bo_map");
	area->base = base;
	must(usvm_vm_bind(run->vm, (uintptr_t)base, config.bytes, area->object, 0, 0),
	     "usvm_vm_bind");
}

void object_destroy(struct area *area)
{
	must(usvm_bo_destroy(area->object), "usvm_bo_destroy");
	area->object = NULL;
}

void object_move(const struct area *area, enum usvm_place to)
{
	struct usvm_bo_info info;
	int err = usvm_bo_move(area->object, to);

	/* Others may hold all of the rest for the moment. */
	if (err && !(err == -ENOSPC && to == USVM_PLACE_DEVICE))
		report_failure((struct area *)area, "usvm_bo_move", err);
	err = usvm_bo_info(area->object, &info);
	if (err || info.bytes != area->pages * PAGE ||
	    info.placement != (USVM_BO_SYSTEM | USVM_BO_DEVICE))
		report_failure((struct area *)area, "usvm_bo_info", err);
}

void op_object(struct worker *worker, struct hold *hold)
{
	enum usvm_place to = random_one_in(&worker->random, 2) ? USVM_PLACE_DEVICE :
								 USVM_PLACE_SYSTEM;

	note(worker, hold, to == USVM_PLACE_DEVICE ? "object to device" : "object to system");
	object_move(hold->area, to);
	look(worker, hold, "after an object's move");
}

/* --- what is bound ---------------- */

static void bind_at(const struct hold *part, uint64_t addr, struct usvm_bo *object,
		    uint32_t flags)
{
	uint64_t offset = object ? part->first * PAGE : 0;
	int err = usvm_vm_bind(run->vm, addr, part->count * PAGE, object, offset, flags);

	if (err == -ENOSPC && flags & USVM_BIND_NOW)
		err = usvm_vm_bind(run->vm, addr, part->count * PAGE, object, offset,
				   flags & ~(uint32_t)USVM_BIND_NOW);
	if (err)
		report_failure(part->area, "usvm_vm_bind", err);
}

static void bind_part(struct worker *worker, const struct hold *part, uint32_t flags)
{
	if (random_one_in(&worker->random, 2))
		flags |= USVM_BIND_NOW;
	bind_at(part, (uintptr_t)hold_start(part), part->area->object, flags);
}

static void without_it(struct worker *worker, const struct hold *part)
{
	note(worker, part, "unbind");
	must(usvm_vm_unbind(run->vm, (uintptr_t)hold_start(part), part->count * PAGE),
	     "usvm_vm_unbind");
	job_must_fail(run->vm, &worker->job, part, JOB_LOAD, -EFAULT);
}

static void read_only(struct worker *worker, const struct hold *part)
{
	note(worker, part, "bind, read-only");
	bind_part(worker, part, USVM_BIND_READ_ONLY);
	job_run(&worker->job, part, JOB_CHECK, 1, 0);
	job_must_fail(run->vm, &worker->job, part, JOB_STORE, -EPERM);
}

/* Zeros are read, and what is written is forgotten. */
static void nothing(struct worker *worker, const struct hold *part)
{
	note(worker, part, "bind of nothing");
	bind_at(part, (uintptr_t)hold_start(part), NULL, 0);
	job_run(&worker->job, part, JOB_STORE, 1, 0);
	job_run(&worker->job, part, JOB_LOAD, 1, 0);
	if (worker->job.result->mismatch.found)
		report_failure(part->area, "a load of a bind of nothing",
			       (int64_t)worker->job.result->mismatch.found);
}

/* The same bytes at another address; both are used. */
static void alias(struct worker *worker, struct hold *part)
{
	unsigned char *base = (unsigned char *)(ALIAS_ZONE + part->area->index * ALIAS_BYTES);
	uint64_t at = (uintptr_t)base + part->first * PAGE;

	note(worker, part, "bind of an alias");
	bind_at(part, at, part->area->object, 0);
	part->elsewhere = base;
	job_run(&worker->job, part, JOB_WORK, 2, random_next(&worker->random));
	part->elsewhere = NULL;
	look(worker, part, "after work by an alias");
	object_move(part->area, USVM_PLACE_SYSTEM);
	part->elsewhere = base;
	job_run(&worker->job, part, JOB_CHECK, 1, 0);
	part->elsewhere = NULL;
	if (random_one_in(&worker->random, 2))
		must(usvm_vm_unbind(run->vm, at, part->count * PAGE), "usvm_vm_unbind");
}

/* Of any part of the object, of which nobody else uses any. */
void op_rebind(struct worker *worker, struct hold *hold)
{
	uint32_t first = random_below(&worker->random, hold->count);
	struct hold part = *hold;

	job_reap(&worker->job, true);
	part.first = first;
	part.count = 1 + random_below(&worker->random, hold->count - first);
	switch (random_below(&worker->random, 4)) {
	case 0:
		without_it(worker, &part);
		break;
	case 1:
		read_only(worker, &part);
		break;
	case 2:
		nothing(worker, &part);
		break;
	default:
		alias(worker, &part);
		break;
	}
	bind_part(worker, &part, 0);
	note(worker, &part, "bind");
	look(worker, &part, "after a bind");
}

/* --- of one's own ---------------- */

static struct pattern own_pattern(const struct worker *worker, const struct own_object *own)
{
	uint64_t index = worker->thread * OWN_COUNT + (uint64_t)(own - worker->own);

	return (struct pattern){ OWN_ZONE + index * OWN_BYTES_MAX, own->bytes / 8, own->seed };
}

static void own_write(struct worker *worker, struct own_object *own)
{
	struct pattern pattern;

	own->seed = random_next(&worker->random);
	pattern = own_pattern(worker, own);
	pattern_fill(worker, &pattern);
}

static void own_check(struct worker *worker, const struct own_object *own)
{
	struct pattern pattern = own_pattern(worker, own);

	pattern_check(worker, &pattern, "a word of a thread's object");
}

static void own_create(struct worker *worker, struct own_object *own)
{
	struct usvm_bo_config config = {
		.placement = random_one_in(&worker->random, 2) ? USVM_BO_DEVICE : 0,
		.flags = random_one_in(&worker->random, 2) ? USVM_BO_DEVICE_ONLY : 0,
	};
	struct usvm_device_info info;
	uint64_t most;

	must(usvm_device_info(run->gpu, &info), "usvm_device_info");
	most = info.vram_bytes / 16 < OWN_BYTES_MAX ? info.vram_bytes / 16 : OWN_BYTES_MAX;
	own->bytes = PAGE * (1 + random_below(&worker->random, (uint32_t)(most / PAGE)));
	own->may_move = !config.placement;
	config.bytes = own->bytes;
	must(usvm_bo_create(run->gpu, &config, &own->object), "usvm_bo_create of a thread's");
	must(usvm_vm_bind(run->vm, own_pattern(worker, own).at, own->bytes, own->object, 0, 0),
	     "usvm_vm_bind of a thread's object");
}

static void own_move(struct worker *worker, const struct own_object *own)
{
	uint32_t to = random_below(&worker->random, 2);
	int err = usvm_bo_move(own->object, to);

	if (err && !(err == -ENOSPC && to == USVM_PLACE_DEVICE))
		report_failure(NULL, "usvm_bo_move of a thread's object", err);
}

/* Bound, it lives on without its handle. */
static void own_end(struct worker *worker, struct own_object *own)
{
	must(usvm_bo_destroy(own->object), "usvm_bo_destroy of a thread's");
	own_check(worker, own);
	must(usvm_vm_unbind(run->vm, own_pattern(worker, own).at, own->bytes),
	     "usvm_vm_unbind of a thread's object");
	*own = (struct own_object){ 0 };
}

void op_own_object(struct worker *worker, struct hold *hold)
{
	struct own_object *own = &worker->own[random_below(&worker->random, OWN_COUNT)];

	(void)hold;
	job_reap(&worker->job, true);
	if (!own->object) {
		own_create(worker, own);
		own_write(worker, own);
		return;
	}
	own_check(worker, own);
	switch (random_below(&worker->random, 3)) {
	case 0:
		own_end(worker, own);
		break;
	case 1:
		if (own->may_move)
			own_move(worker, own);
		break;
	default:
		own_write(worker, own);
		break;
	}
}

void own_objects_end(struct worker *worker)
{
	for (uint32_t i = 0; i < OWN_COUNT; i++) {
		if (worker->own[i].object)
			own_end(worker, &worker->own[i]);
	}
}
