/* SPDX-License-Identifier: MIT */
/*
 * streamer.h - the input of the command streamer's target, and a second opinion.
 *
 *     byte 0     bit 0: a user fence; bit 1: what is not in the input is NOOP, else END;
 *                bits 2 and 3: an endless batch is run too, it takes milliseconds;
 *                bits 4 to 7: so many accesses to system pages are thrown back
 *     byte 1, 2  where the batch starts, a dword of the window
 *     byte 3     unused
 *     byte 4..7  a nibble for each page of the window: bits 0 and 1 where it is, bit 2
 *                no writes, bit 3 no atomics
 *     byte 8..   the batch
 *
 * The window is the first pages of fake_host's, at FAKE_ADDR.
 */
#ifndef TESTS_FUZZ_STREAMER_H
#define TESTS_FUZZ_STREAMER_H

#include "unit/gpu/fake_host.h"

#define STREAMER_PAGES 8u
#define STREAMER_BYTES (STREAMER_PAGES * PAGE_BYTES)
#define STREAMER_HEADER 8u
#define STREAMER_NO_OPINION 1

/*
 * struct streamer_model - what a batch does, by a second reading of the manual
 *
 * It shares no code with src/gpu: a wrong bound or a wrong bit there makes the two differ.
 */
struct streamer_model {
	unsigned char image[STREAMER_BYTES]; /* in, out: the window */
	struct fake_page page[STREAMER_PAGES];
	uint32_t steps_left; /* commands; at 0 the batch is taken for an endless one */
	/* Out. */
	int error; /* -ECANCELED: no steps are left; STREAMER_NO_OPINION */
	uint64_t fault_addr;
	uint32_t fault_access;
};

void streamer_model_run(struct streamer_model *model, uint64_t batch_addr,
			uint64_t fence_addr, uint64_t fence_value);

#endif
