/* SPDX-License-Identifier: MIT */
/*
 * DOC: batches that are nearly right
 *
 * Random bytes are rarely a command, and an address in them is hardly ever one of the
 * window's 32 KiB in 2^48. So every second mutation writes whole commands: a known header
 * with a length that is mostly right, an address that is mostly in the window, numbers at
 * their limits. The other half is the engine's.
 */
#include "base/prng.h"
#include "fuzz/fuzz.h"
#include "fuzz/streamer.h"

static const uint32_t headers[] = {
	0x00000000, 0x01000000, 0x02800000, 0x04000000, 0x05000000, /* one dword */
	0x10000002, 0x10200003, 0x10000003, 0x10200005,		    /* STORE_DATA_IMM */
	0x13004003, 0x13000001, 0x13204003,			    /* FLUSH_DW */
	0x17800501, 0x17840009, 0x178c2009, 0x17880601,		    /* ATOMIC */
	0x18800101, 0x18c00101, 0x18808101,			    /* BATCH_BUFFER_START */
	0x7a000004, 0x7a010004,					    /* PIPE_CONTROL */
};

static const uint32_t limits[] = { 0,	   1,	       4,	   0x7fffffff,
				   0x80000000, 0xffffffff, 0xfffffffc, 0x4000 };

static uint32_t some_number(struct prng *prng)
{
	if (prng_below(prng, 2))
		return limits[prng_below(prng, ARRAY_SIZE(limits))];
	return (uint32_t)prng_next(prng);
}

static uint32_t some_header(struct prng *prng)
{
	uint32_t header = headers[prng_below(prng, ARRAY_SIZE(headers))];

	switch (prng_below(prng, 8)) {
	case 0:
		return header ^ 1u << prng_below(prng, 32);
	case 1: /* another length */
		return (header & ~0x3ffu) | (uint32_t)prng_below(prng, 0x400);
	case 2:
	case 3: /* another operation of MI_ATOMIC */
		if (header >> 23 == 0x2f)
			return (header & ~0x1f00u) | (uint32_t)prng_below(prng, 32) << 8;
		return header;
	default:
		return header;
	}
}

static void put_dword(uint8_t *bytes, size_t *at, size_t max, uint32_t dword)
{
	if (*at + 4 > max)
		return;
	memcpy(bytes + *at, &dword, 4);
	*at += 4;
}

static void put_address(struct prng *prng, uint8_t *bytes, size_t *at, size_t max)
{
	uint64_t addr = FAKE_ADDR + prng_below(prng, STREAMER_BYTES);

	switch (prng_below(prng, 16)) {
	case 0: /* at a border */
		addr = FAKE_ADDR + prng_below(prng, STREAMER_PAGES + 1) * PAGE_BYTES - 4;
		break;
	case 1:
		addr = prng_next(prng);
		break;
	default:
		addr &= prng_below(prng, 4) ? ~UINT64_C(7) : ~UINT64_C(3);
	}
	put_dword(bytes, at, max, (uint32_t)addr);
	put_dword(bytes, at, max, (uint32_t)(addr >> 32));
}

static void put_command(struct prng *prng, uint8_t *bytes, size_t *at, size_t max)
{
	uint32_t header = some_header(prng);
	uint32_t length = header >> 28 ? (header & 0xff) + 1 : 0;

	put_dword(bytes, at, max, header);
	if (header >> 16 == 0x7a00) {
		put_dword(bytes, at, max, prng_below(prng, 4) ? 0x4000 : some_number(prng));
		length--;
	}
	if (length < 2)
		return;
	put_address(prng, bytes, at, max);
	for (uint32_t i = 2; i < length; i++)
		put_dword(bytes, at, max, some_number(prng));
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t count, size_t max, unsigned int seed)
{
	struct prng prng;
	size_t at;

	prng_seed(&prng, seed);
	if (prng_below(&prng, 2) || max < STREAMER_HEADER + 4)
		return LLVMFuzzerMutate(bytes, count, max);
	if (count < STREAMER_HEADER) {
		memset(bytes + count, 0, STREAMER_HEADER - count);
		count = STREAMER_HEADER;
	}
	if (!prng_below(&prng, 8))
		bytes[prng_below(&prng, STREAMER_HEADER)] = (uint8_t)prng_next(&prng);
	at = STREAMER_HEADER + prng_below(&prng, (count - STREAMER_HEADER) / 4 + 1) * 4;
	for (uint64_t n = 1 + prng_below(&prng, 4); n; n--)
		put_command(&prng, bytes, &at, max);
	return at > count ? at : count;
}
