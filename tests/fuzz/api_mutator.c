/* SPDX-License-Identifier: MIT */
/*
 * DOC: sequences of calls
 *
 * Every second mutation works on whole records, so that one call's bytes never become
 * another's: a record with a call of its own, one taken away, one that comes again.
 */
#include "base/prng.h"
#include "fuzz/api.h"

static void fill(struct prng *prng, uint8_t *record)
{
	for (uint32_t i = 0; i < API_RECORD; i++)
		record[i] = (uint8_t)(prng_next(prng) >> 32);
	/* Small numbers mean something more often than any. */
	for (uint64_t n = prng_below(prng, API_RECORD); n; n--)
		record[1 + prng_below(prng, API_RECORD - 1)] &= 0x0f;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t count, size_t max, unsigned int seed)
{
	size_t records = count ? (count - 1) / API_RECORD : 0;
	struct prng prng;
	uint8_t *at;

	prng_seed(&prng, seed);
	if (prng_below(&prng, 2) || max < 1 + (records + 1) * API_RECORD)
		return LLVMFuzzerMutate(bytes, count, max);
	if (!count)
		bytes[0] = 1;
	count = 1 + records * API_RECORD;
	at = bytes + 1 + prng_below(&prng, records + 1) * API_RECORD;
	switch (records ? prng_below(&prng, 6) : 0) {
	case 0:
	case 1: /* a new one, here */
		memmove(at + API_RECORD, at, (size_t)(bytes + count - at));
		fill(&prng, at);
		return count + API_RECORD;
	case 2: /* this one again, later */
		if (at == bytes + count)
			at -= API_RECORD;
		memcpy(bytes + count, at, API_RECORD);
		return count + API_RECORD;
	case 3: /* one less */
		if (at == bytes + count)
			return count - API_RECORD;
		memmove(at, at + API_RECORD, (size_t)(bytes + count - at) - API_RECORD);
		return count - API_RECORD;
	default: /* another one, here */
		if (at == bytes + count)
			at -= API_RECORD;
		fill(&prng, at);
		return count;
	}
}
