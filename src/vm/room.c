/* SPDX-License-Identifier: MIT */
/*
 * DOC: Who waits for room in device memory, and for whom
 *
 * Eviction makes room, but not out of what is pinned. Two kinds of pins go away by
 * themselves, and whoever may be nowhere else waits for them:
 *
 * - A pin that passes: somebody fills a block, or reads one. It is counted before it is
 *   pinned, and when its owner has nothing to wait for any more: no object, and no lock of a
 *   vm. So all of them pass.
 * - A validation: a vm pins all that it has bound, for one job. One at a time does, for two
 *   that have each pinned a part would both find no room.
 *
 * A vm with many jobs validates again as soon as it has, and who is woken by the end of one
 * validation would find the next at work, each time. So he has a turn: he is counted from the
 * first time that he finds no room for a validation, and the next one waits until he has
 * either got room or found none with nobody validating. Those who come while it waits are
 * counted on the other side, for the one after it; each validation changes the sides.
 *
 * Upstream: drm_exec and the tickets of dma_resv, by which the older one wins.
 */
#include "vm/vm_internal.h"

#include "base/assert.h"
#include "base/host.h"

void vm_room_init(struct vm_room *room)
{
	*room = (struct vm_room){ 0 };
	wait_init(&room->pins_passed);
	wait_init(&room->validated);
	wait_init(&room->turns_over);
}

/* --- pins that pass ------------------------------------------------------------------------- */

void vm_pin_passing(struct vm_device *device)
{
	ATOMIC_ADD(&device->room.passing_pins, 1u);
}

void vm_pin_passed(struct vm_device *device)
{
	/* Who finds none passing, finds that one has. */
	ATOMIC_ADD(&device->room.passed_pins, 1u);
	ATOMIC_SUB(&device->room.passing_pins, 1u);
	wait_wake_all(&device->room.pins_passed);
}

bool vm_room_comes(struct vm_room *room, uint32_t passed_before)
{
	uint32_t ticket = wait_ticket(&room->pins_passed);

	if (ATOMIC_LOAD(&room->passed_pins) != passed_before)
		return true;
	if (!ATOMIC_LOAD(&room->passing_pins))
		return ATOMIC_LOAD(&room->passed_pins) != passed_before;
	wait_sleep(&room->pins_passed, ticket, BASE_FOREVER);
	return true;
}

/* --- validations ------------------------------------------------------------------------------ */

void vm_room_give_turns(struct vm_room *room)
{
	uint32_t side = ATOMIC_LOAD(&room->turn_side);

	ATOMIC_STORE(&room->turn_side, side ^ 1);
	for (;;) {
		uint32_t ticket = wait_ticket(&room->turns_over);

		if (!ATOMIC_LOAD(&room->turns[side]))
			return;
		wait_sleep(&room->turns_over, ticket, BASE_FOREVER);
	}
}

void vm_room_validate(struct vm_room *room)
{
	ASSERT(!(room->validation & 1));
	ATOMIC_ADD(&room->validation, 1u);
}

void vm_room_validated(struct vm_room *room)
{
	ASSERT(room->validation & 1);
	ATOMIC_ADD(&room->validation, 1u);
	wait_wake_all(&room->validated);
}

void vm_turn_try(struct vm_turn *turn)
{
	turn->before = ATOMIC_LOAD(&turn->room->validation);
}

/* A validation that began beside the count, or another's on the other side, may be in the way
 * once more; the one behind that is not. */
bool vm_turn_again(struct vm_turn *turn)
{
	struct vm_room *room = turn->room;

	if (!turn->taken) {
		turn->side = ATOMIC_LOAD(&room->turn_side);
		turn->taken = true;
		ATOMIC_ADD(&room->turns[turn->side], 1u);
	}
	for (;;) {
		uint32_t ticket = wait_ticket(&room->validated);

		if (ATOMIC_LOAD(&room->validation) != turn->before)
			return true;
		if (!(turn->before & 1))
			return false;
		wait_sleep(&room->validated, ticket, BASE_FOREVER);
	}
}

void vm_turn_over(struct vm_turn *turn)
{
	if (!turn->taken)
		return;
	turn->taken = false;
	if (ATOMIC_SUB(&turn->room->turns[turn->side], 1u) == 1)
		wait_wake_all(&turn->room->turns_over);
}
