/* SPDX-License-Identifier: MIT */
/*
 * xe/slot.h - where virtual cards are on their bus, which no machine has.
 */
#ifndef XE_SLOT_H
#define XE_SLOT_H

#include <string.h>

#define XE_BUS "pci0000:e0"
#define XE_SLOTS "0000:e0:" /* how each slot begins */
#define XE_SLOT_BYTES sizeof("0000:e0:00.0")

/** xe_slot() - the name of the slot of card @index: below 29 */
static inline void xe_slot(unsigned int index, char slot[XE_SLOT_BYTES])
{
	const unsigned int number = 3 + index;

	memcpy(slot, XE_SLOTS "00.0", XE_SLOT_BYTES);
	slot[sizeof(XE_SLOTS) - 1] = (char)('0' + number / 16);
	slot[sizeof(XE_SLOTS)] = "0123456789abcdef"[number % 16];
}

#endif
