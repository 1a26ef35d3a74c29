/* SPDX-License-Identifier: MIT */
/*
 * DOC: the area of the public interface's target
 *
 *     0      2M       3M    +64K   +128K    +192K      +256K     4M
 *     | KEPT | SCRATCH | READ | NONE | SHARED | COMMANDS | (none) |
 *
 * Jobs that the calls do not wait for write to SCRATCH only, so that what KEPT must have
 * is known at every moment. The commands are written once and never change: a batch that
 * is rewritten while it runs could store anywhere.
 */
#include <sys/mman.h>

#include "fuzz/api.h"

#define MIB(n) ((uint64_t)(n) << 20)
#define KIB(n) ((uint64_t)(n) << 10)
#define AREA_BYTES MIB(4)
#define BATCH_BYTES 256
#define USER_END (UINT64_C(1) << 47)

static const struct {
	uint64_t offset, bytes;
} regions[API_REGIONS] = {
	[API_KEPT] = { 0, MIB(2) },
	[API_SCRATCH] = { MIB(2), MIB(1) },
	[API_READ] = { MIB(3), KIB(64) },
	[API_NONE] = { MIB(3) + KIB(64), KIB(64) },
	[API_SHARED] = { MIB(3) + KIB(128), KIB(64) },
	[API_COMMANDS] = { MIB(3) + KIB(192), KIB(64) },
};

static unsigned char *area;
static uint64_t shadow[API_KEPT_WORDS];

uint64_t api_memory_at(enum api_region region, uint64_t offset)
{
	return (uintptr_t)area + regions[region].offset + offset % regions[region].bytes;
}

static void *pointer(enum api_region region)
{
	return area + regions[region].offset;
}

static void remap(enum api_region region, int prot, int flags)
{
	void *at = mmap(pointer(region), regions[region].bytes, prot,
			flags | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	FUZZ_CHECK(at == pointer(region), "mmap");
}

/* --- batches ---------------- */

#define LOW(addr) ((uint32_t)(addr))
#define HIGH(addr) ((uint32_t)((addr) >> 32))
#define AT(addr) LOW(addr), HIGH(addr)

const void *api_memory_batch(uint32_t index)
{
	return (unsigned char *)pointer(API_COMMANDS) + index % API_BATCHES * BATCH_BYTES;
}

static void write_batches(void)
{
	const uint64_t scratch = api_memory_at(API_SCRATCH, 0x3000);
	const uint32_t batches[API_BATCHES][12] = {
		{ 0x05000000 },
		{ 0x10200003, AT(scratch), 1, 2, 0x05000000 },
		{ 0, 0xffffffff },
		{ 0x17840709, AT(scratch), 3, 0, 0, 0, 0, 0, 0, 0, 0x05000000 },
		[API_BATCH_ENDLESS] = { 0x18800101,
					AT((uintptr_t)api_memory_batch(API_BATCH_ENDLESS)) },
		{ 0x10000002, AT(api_memory_at(API_NONE, 8)), 7, 0x05000000 },
		{ 0x10000002, AT(UINT64_C(16)), 7, 0x05000000 },
		{ 0x18c00101, AT((uintptr_t)api_memory_batch(1)), 0x05000000 },
	};

	for (uint32_t i = 0; i < API_BATCHES; i++)
		memcpy((unsigned char *)pointer(API_COMMANDS) + i * BATCH_BYTES, batches[i],
		       sizeof(batches[i]));
}

void api_memory_init(void)
{
	unsigned char *all;

	if (area)
		return;
	all = mmap(NULL, 2 * AREA_BYTES, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	FUZZ_CHECK(all != MAP_FAILED, "no memory");
	area = all + (AREA_BYTES - (uintptr_t)all % AREA_BYTES) % AREA_BYTES;
	remap(API_READ, PROT_READ, MAP_PRIVATE);
	remap(API_NONE, PROT_NONE, MAP_PRIVATE);
	remap(API_SHARED, PROT_READ | PROT_WRITE, MAP_SHARED);
	FUZZ_CHECK(!munmap(area + MIB(3) + KIB(256), MIB(1) - KIB(256)), "munmap");
	write_batches();
}

/* --- the program ---------------- */

static volatile uint64_t *kept(uint32_t word)
{
	return (volatile uint64_t *)(void *)(area + API_KEPT_WORD(word % API_KEPT_WORDS));
}

static void check_word(uint32_t word)
{
	uint64_t have = *kept(word);
	uint64_t wanted = shadow[word % API_KEPT_WORDS];

	FUZZ_CHECK(have == wanted, "word %u: %" PRIu64 ", not %" PRIu64, word, have, wanted);
}

void api_memory_changed(uint32_t word, uint64_t add)
{
	shadow[word % API_KEPT_WORDS] += add;
}

void api_memory_touch(struct fuzz_input *in)
{
	uint32_t word = fuzz_take8(in);
	uint32_t value = fuzz_take8(in);

	check_word(word);
	if (value) {
		*kept(word) = value;
		shadow[word % API_KEPT_WORDS] = value;
	}
}

void api_memory_advise(struct fuzz_input *in)
{
	uint32_t what = fuzz_take8(in);

	switch (what % 6) {
	case 0:
		FUZZ_CHECK(!madvise(pointer(API_KEPT), MIB(2), MADV_DONTNEED), "madvise");
		memset(shadow, 0, sizeof(shadow));
		break;
	case 1:
		remap(API_KEPT, PROT_READ | PROT_WRITE, MAP_PRIVATE);
		memset(shadow, 0, sizeof(shadow));
		break;
	case 2:
		remap(API_SCRATCH, PROT_READ | PROT_WRITE, MAP_PRIVATE);
		break;
	case 3:
		remap(API_SHARED, PROT_READ | PROT_WRITE, MAP_SHARED);
		break;
	case 4:
		madvise(pointer(API_KEPT), MIB(2),
			what & 0x80 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		break;
	default:
		FUZZ_CHECK(!mprotect(pointer(API_SCRATCH), KIB(64),
				     what & 0x80 ? PROT_READ : PROT_READ | PROT_WRITE),
			   "mprotect");
	}
}

void api_memory_check(void)
{
	for (uint32_t i = 0; i < API_KEPT_WORDS; i++)
		check_word(i);
}

/* --- arguments ---------------- */

static const uint64_t limits[] = {
	0, 1, 4095, 4096, 65536, USER_END - 4096, USER_END - 1, USER_END, UINT64_C(1) << 63,
	UINT64_MAX - 4095, UINT64_MAX,
};
#define LIMITS (sizeof(limits) / sizeof(limits[0]))

uint64_t api_memory_address(struct fuzz_input *in)
{
	uint32_t how = fuzz_take8(in);

	if ((how & 7) < API_REGIONS) {
		uint64_t offset = fuzz_take(in, 3);

		if (!(how & 0x40))
			offset &= ~(API_PAGE - 1);
		else if (!(how & 0x80))
			offset &= ~UINT64_C(7);
		return api_memory_at((enum api_region)(how & 7), offset);
	}
	if ((how & 7) == 7)
		return fuzz_take(in, 8);
	return limits[fuzz_take8(in) % LIMITS];
}

uint64_t api_memory_bytes(struct fuzz_input *in)
{
	uint32_t how = fuzz_take8(in);

	switch (how & 7) {
	case 0:
	case 1:
		return fuzz_take8(in) * API_PAGE;
	case 2:
		return fuzz_take8(in);
	case 3:
		return regions[fuzz_take8(in) % API_REGIONS].bytes;
	case 4:
		return MIB(1) << fuzz_take8(in) % 44;
	case 5:
		return fuzz_take(in, 8);
	default:
		return limits[fuzz_take8(in) % LIMITS];
	}
}

static bool is_inside(uint64_t addr, uint64_t bytes)
{
	uint64_t start = (uintptr_t)area;

	return addr >= start && addr - start < AREA_BYTES &&
	       bytes <= AREA_BYTES - (addr - start);
}

bool api_memory_may_reach(uint64_t addr, uint64_t bytes)
{
	return is_inside(addr, bytes) || addr + bytes < 65536 || addr >= USER_END ||
	       (addr < 65536 && bytes < 4096);
}

bool api_memory_may_move(uint64_t addr, uint64_t bytes)
{
	/* The sanitizer's own memory is not the library's: the monitor would wait for a
	 * page that it is asked to bring. */
	if (!API_ASAN || !bytes || addr + bytes < addr || addr + bytes > USER_END)
		return true;
	return is_inside(addr, bytes) || addr + bytes <= 65536;
}
