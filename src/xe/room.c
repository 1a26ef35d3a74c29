/* SPDX-License-Identifier: MIT */
/*
 * DOC: Room on the card for other processes
 *
 * Where the processes of a run share the card's memory each block that vram hands out is had
 * from the pool (pool.c), and a thread of this process makes way for others: it sleeps until
 * somebody wishes for room, and evicts. Not one of the workers: those may all wait for room
 * themselves, in a process that waits for this one.
 *
 * It is made by a worker, whose file table it needs to reach pages. The process has what it
 * has for as long as this thread lives.
 */
#include "xe/xe_internal.h"

#include <errno.h>

#include "base/host.h"
#include "base/wait.h"
#include "vram/bo.h"
#include "xe/pool.h"

struct xe_room {
	struct xe_pool pool;
	struct xe_card *card;
	struct sys_thread *thread;
	const char *path; /* while it is opened */
	uint32_t joined;  /* atomic: 0 not yet, 1 yes, 2 no: error */
	int error;
	struct wait changed; /* joined has */
	uint32_t stopping;   /* atomic */
};

static bool take(void *user, uint64_t bytes)
{
	struct xe_room *room = user;

	return xe_pool_take(&room->pool, bytes);
}

static void give(void *user, uint64_t bytes)
{
	struct xe_room *room = user;

	xe_pool_give(&room->pool, bytes);
}

static bool ask(void *user, uint64_t bytes, bool is_last)
{
	struct xe_room *room = user;

	return xe_pool_ask(&room->pool, bytes, is_last);
}

static void unpinned(void *user)
{
	struct xe_room *room = user;

	xe_pool_stir(&room->pool);
}

static const struct vram_share_ops share_ops = {
	.take = take,
	.give = give,
	.ask = ask,
	.unpinned = unpinned,
};

static void make_way(struct xe_room *room)
{
	struct vram *vram = room->card->device->vram;

	for (;;) {
		uint32_t ticket = xe_pool_ticket(&room->pool);

		if (ATOMIC_LOAD(&room->stopping))
			return;
		while (xe_pool_wanted(&room->pool) && !vram_evict_one(vram))
			;
		xe_pool_answer(&room->pool, ticket);
		xe_pool_sleep(&room->pool, ticket);
	}
}

static void run(void *arg)
{
	struct xe_room *room = arg;

	base_host->self()->is_worker = true;
	room->error = xe_pool_join(&room->pool, room->path, room->card->vram_bytes);
	ATOMIC_STORE(&room->joined, room->error ? 2u : 1u);
	wait_wake_all(&room->changed);
	if (room->error)
		return;
	make_way(room);
	xe_pool_leave(&room->pool);
}

/* On a worker. */
static int start_thread(void *argument)
{
	struct xe_room *room = *(struct xe_room **)argument;
	const struct sys_thread_attr attr = {
		.name = "usvm-room",
		.run = run,
		.arg = room,
		.flags = SYS_THREAD_SHARE_FILES,
	};
	struct sys *sys = room->card->sys;

	return sys->ops->thread_create(sys, &attr, &room->thread);
}

static int wait_until_joined(struct xe_room *room)
{
	for (;;) {
		uint32_t ticket = wait_ticket(&room->changed);

		if (ATOMIC_LOAD(&room->joined))
			return room->error;
		wait_sleep(&room->changed, ticket, BASE_FOREVER);
	}
}

static size_t room_bytes(void)
{
	return ALIGN_UP(sizeof(struct xe_room), PAGE_BYTES);
}

int xe_room_open(struct xe_card *card, const char *path)
{
	struct xe_room *room = base_host->pages_alloc(room_bytes());
	int err;

	if (!room)
		return -ENOMEM;
	room->card = card;
	room->path = path;
	wait_init(&room->changed);
	err = mm_call(card->mm, start_thread, &room, sizeof(room));
	if (!err) {
		err = wait_until_joined(room);
		if (err)
			card->sys->ops->thread_join(card->sys, room->thread);
	}
	if (err) {
		base_host->pages_free(room, room_bytes());
		return err;
	}
	vram_share(card->device->vram, &share_ops, room);
	card->room = room;
	return 0;
}

/* On a worker. What will not go is counted as gone: the close that follows says why. */
static int stop_sharing(void *argument)
{
	struct xe_room *room = *(struct xe_room **)argument;
	struct vram *vram = room->card->device->vram;
	int err = vram_evict_all(vram);

	vram_share(vram, NULL, NULL);
	return err;
}

void xe_room_close(struct xe_card *card)
{
	struct xe_room *room = card->room;
	int err;

	if (!room)
		return;
	err = mm_call(card->mm, stop_sharing, &room, sizeof(room));
	ATOMIC_STORE(&room->stopping, 1u);
	xe_pool_wake(&room->pool);
	card->sys->ops->thread_join(card->sys, room->thread);
	base_host->pages_free(room, room_bytes());
	card->room = NULL;
	if (err)
		err = xe_refuse(card, err, "memory of the card is in use at its close");
}

uint64_t xe_room_used(struct xe_card *card)
{
	struct vram_stats vram;

	if (card->room)
		return xe_pool_used(&card->room->pool);
	vm_device_vram(card->device, &vram);
	return vram.used_bytes;
}
