/* SPDX-License-Identifier: MIT */
/*
 * DOC: random programs
 *
 * The generator follows the plan as if its operations ran one after the other, to know
 * which pages are mapped: most accesses go to mapped pages, and most of those to a few
 * *hot* ones, where threads meet. It need not be right, for the model knows what every
 * operation may give.
 *
 * What is drawn for an operation depends on those before it and on nothing else, so a
 * longer plan begins with the shorter one.
 */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "model.h"
#include "usvm/usvm.h"

#define PAGES (PLAN_BLOCKS * (HUGE_BYTES / PAGE_BYTES))
#define HOT_MAX 16
bool plan_marked;

static const struct profile profiles[] = {
	{
		.name = "default",
		.summary = "a bit of everything",
		.weight = { [OP_LOAD] = 60, [OP_STORE] = 60, [OP_ADD] = 20,
			    [OP_EXCHANGE] = 5, [OP_READ_CALL] = 6, [OP_WRITE_CALL] = 6,
			    [OP_MMAP] = 8, [OP_MUNMAP] = 8, [OP_MREMAP] = 8,
			    [OP_MADVISE] = 16, [OP_MPROTECT] = 3, [OP_MLOCK] = 2,
			    [OP_PIN] = 3, [OP_SWAP] = 2, [OP_FORK] = 2, [OP_KERNEL] = 60,
			    [OP_BATCH] = 15, [OP_WAIT] = 15, [OP_PREFETCH] = 12,
			    [OP_QUERY] = 3, [OP_QUEUE] = 2, [OP_VM] = 2, [OP_DEVICE] = 1,
			    [OP_BIND] = 2 },
		.vram_blocks_max = 4,
		.hot_pages = 12,
	},
	{
		.name = "events",
		.summary = "munmap, mremap, madvise and mmap under kernels and loads",
		.weight = { [OP_LOAD] = 40, [OP_STORE] = 40, [OP_ADD] = 10,
			    [OP_READ_CALL] = 3, [OP_WRITE_CALL] = 3, [OP_MMAP] = 25,
			    [OP_MUNMAP] = 25, [OP_MREMAP] = 30, [OP_MADVISE] = 45,
			    [OP_MPROTECT] = 6, [OP_KERNEL] = 50, [OP_WAIT] = 15,
			    [OP_PREFETCH] = 15 },
		.vram_blocks_max = 4,
		.hot_pages = 8,
	},
	{
		.name = "fork",
		.summary = "fork() and clone(), with children that read, write and unmap",
		.weight = { [OP_LOAD] = 30, [OP_STORE] = 40, [OP_ADD] = 10, [OP_MMAP] = 5,
			    [OP_MUNMAP] = 4, [OP_MREMAP] = 5, [OP_MADVISE] = 12,
			    [OP_PIN] = 3, [OP_FORK] = 25, [OP_KERNEL] = 50, [OP_WAIT] = 10,
			    [OP_PREFETCH] = 15 },
		.vram_blocks_max = 4,
		.hot_pages = 8,
	},
	{
		.name = "evict",
		.summary = "device memory of one block, and prefetches of several",
		.weight = { [OP_LOAD] = 40, [OP_STORE] = 40, [OP_ADD] = 20, [OP_MMAP] = 4,
			    [OP_MUNMAP] = 4, [OP_MREMAP] = 3, [OP_MADVISE] = 6,
			    [OP_MLOCK] = 2, [OP_PIN] = 4, [OP_KERNEL] = 70, [OP_BATCH] = 10,
			    [OP_WAIT] = 20, [OP_PREFETCH] = 40, [OP_QUERY] = 4 },
		.vram_blocks_max = 1,
		.hot_pages = 16,
	},
	{
		.name = "life",
		.summary = "devices, vms, binds and queues come and go",
		.weight = { [OP_LOAD] = 30, [OP_STORE] = 30, [OP_ADD] = 10, [OP_MMAP] = 4,
			    [OP_MUNMAP] = 4, [OP_MREMAP] = 4, [OP_MADVISE] = 6, [OP_FORK] = 1,
			    [OP_KERNEL] = 50, [OP_BATCH] = 10, [OP_WAIT] = 4,
			    [OP_PREFETCH] = 15, [OP_QUERY] = 4, [OP_QUEUE] = 12, [OP_VM] = 9,
			    [OP_DEVICE] = 16, [OP_BIND] = 20 },
		.vram_blocks_max = 3,
		.hot_pages = 12,
	},
	{
		.name = "gpu",
		.summary = "kernels and batches that meet each other and the CPU",
		.weight = { [OP_LOAD] = 20, [OP_STORE] = 20, [OP_ADD] = 20,
			    [OP_EXCHANGE] = 5, [OP_MMAP] = 2, [OP_MUNMAP] = 2,
			    [OP_MADVISE] = 5, [OP_KERNEL] = 120, [OP_BATCH] = 40,
			    [OP_WAIT] = 40, [OP_PREFETCH] = 10, [OP_QUEUE] = 2 },
		.vram_blocks_max = 4,
		.hot_pages = 6,
	},
	{
		.name = "tight",
		.summary = "everything at once in a few pages, with calls of a page or two",
		.weight = { [OP_LOAD] = 60, [OP_STORE] = 60, [OP_ADD] = 20,
			    [OP_READ_CALL] = 6, [OP_WRITE_CALL] = 6, [OP_MMAP] = 30,
			    [OP_MUNMAP] = 14, [OP_REMAKE] = 25, [OP_MREMAP] = 22, [OP_MADVISE] = 45,
			    [OP_MPROTECT] = 3, [OP_PIN] = 3, [OP_SWAP] = 2, [OP_FORK] = 3,
			    [OP_KERNEL] = 60, [OP_BATCH] = 6, [OP_WAIT] = 15,
			    [OP_PREFETCH] = 40 },
		.vram_blocks_max = 2,
		.hot_pages = 6,
		.tight = true,
	},
	{
		.name = "realloc",
		.summary = "each thread moves memory of its own to where another's just was",
		.weight = { [OP_LOAD] = 40, [OP_STORE] = 40, [OP_MREMAP] = 120,
			    [OP_MUNMAP] = 12, [OP_KERNEL] = 6, [OP_WAIT] = 2,
			    [OP_PREFETCH] = 60 },
		.vram_blocks_max = 2,
		.hot_pages = HOT_MAX,
		.tight = true,
		.own = true,
	},
	{
		.name = "unplug",
		.summary = "devices go away under kernels, and new ones come",
		.weight = { [OP_LOAD] = 30, [OP_STORE] = 30, [OP_ADD] = 10,
			    [OP_READ_CALL] = 3, [OP_WRITE_CALL] = 3, [OP_MMAP] = 4,
			    [OP_MUNMAP] = 5, [OP_MREMAP] = 4, [OP_MADVISE] = 10,
			    [OP_FORK] = 2, [OP_KERNEL] = 60, [OP_BATCH] = 5,
			    [OP_WAIT] = 6, [OP_PREFETCH] = 25, [OP_QUERY] = 4,
			    [OP_QUEUE] = 4, [OP_VM] = 6, [OP_DEVICE] = 25, [OP_BIND] = 6,
			    [OP_UNPLUG] = 20 },
		.vram_blocks_max = 3,
		.hot_pages = 10,
	},
	{
		.name = "race",
		.summary = "three threads, each call half way while others do theirs, on two pages",
		.weight = { [OP_LOAD] = 50, [OP_STORE] = 70, [OP_MMAP] = 30,
			    [OP_MUNMAP] = 20, [OP_REMAKE] = 40, [OP_MREMAP] = 30, [OP_MADVISE] = 40,
			    [OP_FORK] = 6, [OP_KERNEL] = 60, [OP_WAIT] = 5,
			    [OP_PREFETCH] = 60 },
		.vram_blocks_max = 2,
		.hot_pages = 2,
		.tight = true,
		.races = true,
	},
	{
		.name = "policy",
		.summary = "advice, timeslices, and pages that CPU and GPU both want",
		.weight = { [OP_LOAD] = 30, [OP_STORE] = 30, [OP_ADD] = 15,
			    [OP_EXCHANGE] = 3, [OP_MMAP] = 16, [OP_MUNMAP] = 16,
			    [OP_MREMAP] = 4, [OP_MADVISE] = 8, [OP_MLOCK] = 2,
			    [OP_PIN] = 2, [OP_FORK] = 1, [OP_KERNEL] = 90,
			    [OP_BATCH] = 15, [OP_WAIT] = 8, [OP_PREFETCH] = 20,
			    [OP_QUEUE] = 2, [OP_VM] = 2, [OP_ADVISE] = 120 },
		.vram_blocks_max = 4,
		.hot_pages = 3,
	},
	{
		.name = "thrash",
		.summary = "pages that go to and fro, and vms that go meanwhile",
		.weight = { [OP_LOAD] = 10, [OP_STORE] = 10, [OP_MADVISE] = 2,
			    [OP_KERNEL] = 20, [OP_PREFETCH] = 1, [OP_VM] = 12,
			    [OP_ADVISE] = 2, [OP_BOUNCE] = 40 },
		.vram_blocks_max = 4,
		.hot_pages = 2,
		.tight = true,
		.races = true,
	},
	{
		.name = "objects",
		.summary = "buffer objects and pages in device memory that has no room for them",
		.weight = { [OP_LOAD] = 20, [OP_STORE] = 20, [OP_MMAP] = 4, [OP_MUNMAP] = 4,
			    [OP_MADVISE] = 4, [OP_FORK] = 1, [OP_KERNEL] = 40, [OP_WAIT] = 6,
			    [OP_PREFETCH] = 30, [OP_QUEUE] = 2, [OP_VM] = 4, [OP_DEVICE] = 4,
			    [OP_UNPLUG] = 1, [OP_OBJECT] = 120 },
		.vram_blocks_max = 3,
		.hot_pages = 12,
	},
	{
		.name = "peers",
		.summary = "devices of each thread, that want the same pages",
		.weight = { [OP_LOAD] = 20, [OP_STORE] = 20, [OP_ADD] = 10, [OP_MMAP] = 6,
			    [OP_MUNMAP] = 6, [OP_MREMAP] = 8, [OP_MADVISE] = 14,
			    [OP_MLOCK] = 1, [OP_PIN] = 2, [OP_FORK] = 2, [OP_KERNEL] = 100,
			    [OP_BATCH] = 8, [OP_WAIT] = 8, [OP_PREFETCH] = 60,
			    [OP_QUERY] = 3, [OP_VM] = 2, [OP_DEVICE] = 16,
			    [OP_UNPLUG] = 8, [OP_ADVISE] = 40 },
		.vram_blocks_max = 2,
		.hot_pages = 6,
		.peers = true,
	},
};

const struct profile *plan_profile_get(size_t index)
{
	return index < ARRAY_SIZE(profiles) ? &profiles[index] : NULL;
}

const struct profile *plan_profile(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(profiles); i++) {
		if (strcmp(profiles[i].name, name) == 0)
			return &profiles[i];
	}
	return NULL;
}

struct drawer {
	struct prng prng;
	const struct profile *profile;
	uint32_t threads;
	uint32_t weight_sum;
	uint32_t hot[HOT_MAX];
	bool mapped[PAGES];
	bool sparse; /* small mappings: chunks of 64 KiB and 4 KiB */
	bool wipes; /* WIPEONFORK, not DONTFORK: one of them a plan */
};

static uint64_t below(struct drawer *d, uint64_t limit)
{
	return prng_below(&d->prng, limit);
}

static bool one_in(struct drawer *d, uint64_t limit)
{
	return below(d, limit) == 0;
}

/* --- the setting -------------------------------------------------------------- */

static void draw_odds(struct drawer *d, struct sim_odds *odds)
{
	static const uint32_t rates[] = { 0, 0, 4, 50 };

	odds->move_lies = rates[below(d, ARRAY_SIZE(rates))] * 10;
	odds->move_stops = rates[below(d, ARRAY_SIZE(rates))] * 4;
	odds->page_busy = rates[below(d, ARRAY_SIZE(rates))] * 20;
	odds->park_returns = rates[below(d, ARRAY_SIZE(rates))] * 2;
	odds->fault_repeats = rates[below(d, ARRAY_SIZE(rates))] * 4;
	odds->swap_out = rates[below(d, ARRAY_SIZE(rates))] * 50;
	odds->thp_fails = rates[below(d, ARRAY_SIZE(rates))];
}

/* A kernel that is older, or refuses something. */
static uint32_t draw_features(struct drawer *d)
{
	static const uint32_t without[] = {
		SYS_FEATURE_MOVE, SYS_FEATURE_KERNEL_FAULTS, SYS_FEATURE_EVENT_FORK,
		SYS_FEATURE_WP_ASYNC, SYS_FEATURE_PROCMAP_QUERY, SYS_FEATURE_PAGEMAP_SCAN,
		SYS_FEATURE_GUARD, SYS_FEATURE_POISON, SYS_FEATURE_MEMBARRIER,
		SYS_FEATURE_THREAD_ID,
	};

	if (!one_in(d, 4))
		return SIM_ALL_FEATURES;
	return SIM_ALL_FEATURES & ~without[below(d, ARRAY_SIZE(without))];
}

/* Who runs when. Of a generator of its own. */
static void draw_schedule(struct drawer *d, uint64_t seed, struct sim_config *sim)
{
	struct prng prng;

	prng_seed(&prng, seed ^ 0x7363686564756c65u);
	/* fork() is another thing where no message tells of it. */
	if (d->profile->weight[OP_FORK] > 20 && prng_below(&prng, 6) == 0)
		sim->features &= ~(uint32_t)SYS_FEATURE_EVENT_FORK;
	if (prng_below(&prng, 3) && !d->profile->races)
		return;
	sim->policy = SIM_POLICY_STARVE;
	sim->preempt_1_in = 8u << prng_below(&prng, 5);
	sim->freeze_1_in = 1u << prng_below(&prng, 4);
	sim->freeze_steps = 64u << prng_below(&prng, 9);
}

/* Of a generator of its own: atomics in device memory only, short timeslices, time. */
static void draw_policy(uint64_t seed, struct setting *setting)
{
	static const char *const more[] = {
		"", ",system_atomics=no,timeslice=1", ",thrash_control=no",
		",system_atomics=no,timeslice=0",
	};
	/* Where a step takes long the timers of thrash control fire, and timeslices are over
	 * soon; where it takes nothing all follows quickly on what was before. */
	static const uint64_t step_ns[] = { 50, 5, 2000, 8000 };
	size_t length = strlen(setting->device);
	struct prng prng;

	prng_seed(&prng, seed ^ 0x706f6c696379u);
	snprintf(setting->device + length, sizeof(setting->device) - length, "%s",
		 more[prng_below(&prng, ARRAY_SIZE(more))]);
	setting->autoreset = !prng_below(&prng, 4);
	setting->common_vm = !prng_below(&prng, 4);
	setting->sim.step_ns = step_ns[prng_below(&prng, ARRAY_SIZE(step_ns))];
}

/* Of a generator of its own: what a thread's own device is like, and whether they are peers. */
static void draw_peers(uint64_t seed, struct setting *setting)
{
	size_t length = strlen(setting->device);
	bool strangers;
	char *mode;
	struct prng prng;

	prng_seed(&prng, seed ^ 0x7065657273u);
	memcpy(setting->own_device, setting->device, sizeof(setting->own_device));
	strangers = !prng_below(&prng, 5);
	if (prng_below(&prng, 2)) {
		mode = strstr(setting->own_device, "mode=") + strlen("mode=");
		memcpy(mode, *mode == 'm' ? "copy" : "move", strlen("copy"));
	}
	if (strangers)
		snprintf(setting->own_device + length, sizeof(setting->own_device) - length,
			 ",peers=none");
}

static void draw_setting(struct drawer *d, uint64_t seed, struct setting *setting)
{
	static const char *const homes[] = { "4K", "64K", "2M", "2M" };
	struct sim_config *sim = &setting->sim;
	uint64_t vram = 1 + below(d, d->profile->vram_blocks_max);
	uint64_t engines = 1 + below(d, 2);
	const char *mode = one_in(d, 3) ? "copy" : "move";
	const char *home = homes[below(d, ARRAY_SIZE(homes))];
	struct prng kernel;

	setting->common_vm = !one_in(d, 4);
	setting->pieces = one_in(d, 4);
	setting->threads = 1 + (uint32_t)below(d, PLAN_THREADS_MAX - 1);
	setting->own = d->profile->own;
	if (d->profile->tight)
		setting->threads = MAX(setting->threads, d->profile->races ? 3u : 2u);
	snprintf(setting->device, sizeof(setting->device),
		 "model:vram=%uM,engines=%u,mode=%s,home=%s", (unsigned int)vram * 2,
		 (unsigned int)engines, mode, home);
	*sim = sim_config_default(seed);
	sim->features = draw_features(d);
	sim->frame_bytes = 128; /* a batch fits */
	sim->thp = (enum sim_thp)below(d, 3);
	sim->separate_maps = one_in(d, 4);
	sim->policy = one_in(d, 3) ? SIM_POLICY_PRIORITY : SIM_POLICY_RANDOM;
	sim->preempt_1_in = 2u << below(d, 6);
	sim->change_count = 2 + (uint32_t)below(d, 20);
	draw_schedule(d, seed, sim);
	draw_odds(d, &sim->odds);
	if (one_in(d, 2))
		sim->exclusion = span_make(BATCHES_START, BATCHES_BYTES);
	/* As Linux 6.17; of another stream, so that programs stay what they were. */
	prng_seed(&kernel, seed ^ 0x6b65726e656cu);
	sim->moves_several = prng_below(&kernel, 2);
	if (d->profile->weight[OP_ADVISE])
		draw_policy(seed, setting);
	if (plan_marked)
		snprintf(setting->device + strlen(setting->device), 16, ",entries=marked");
	draw_peers(seed, setting);
}

/* --- where -------------------------------------------------------------------- */

static uint64_t page_addr(uint64_t page)
{
	return PLAY_START + page * PAGE_BYTES;
}

static uint64_t draw_page(struct drawer *d)
{
	uint64_t page = 0;

	for (int tries = 0; tries < 8; tries++) {
		if (below(d, 20) < (d->profile->tight ? 19 : 14))
			page = d->hot[below(d, d->profile->hot_pages)];
		else
			page = below(d, PAGES);
		if (d->mapped[page])
			break;
	}
	return page;
}

static uint64_t draw_word(struct drawer *d)
{
	return page_addr(draw_page(d)) + 8 * below(d, MODEL_WORDS);
}

/* A span of some pages, most often around a hot one. */
static struct span draw_span(struct drawer *d)
{
	static const uint64_t sizes[] = { 512, 512, 768, 1, 1, 1, 2, 3, 4, 8, 16, 16, 32 };
	uint64_t least = d->sparse && !one_in(d, 4) ? 3 : 0;
	uint64_t pages = sizes[least + below(d, ARRAY_SIZE(sizes) - least)];
	uint64_t page = draw_page(d);
	uint64_t before;

	if (d->profile->tight)
		pages = 1 + below(d, 4);
	before = below(d, pages);
	page = page >= before ? page - before : 0;
	if (pages >= 512 && !one_in(d, 4))
		page = page / 512 * 512;
	pages = MIN(pages, PAGES - page);
	return span_make(page_addr(page), pages * PAGE_BYTES);
}

static void mark(struct drawer *d, uint64_t addr, uint64_t bytes, bool mapped)
{
	for (uint64_t at = addr; at < addr + bytes && at < PLAY_END; at += PAGE_BYTES)
		d->mapped[(at - PLAY_START) / PAGE_BYTES] = mapped;
}

/* --- operations ------------------------------------------------------------------ */

/* A hot page that is not mapped. Return: PAGES: all are. */
static uint64_t draw_hot_hole(struct drawer *d)
{
	uint32_t first = (uint32_t)below(d, d->profile->hot_pages);

	for (uint32_t i = 0; i < d->profile->hot_pages; i++) {
		uint64_t page = d->hot[(first + i) % d->profile->hot_pages];

		if (!d->mapped[page])
			return page;
	}
	return PAGES;
}

static void draw_mmap(struct drawer *d, struct op *op)
{
	uint64_t holes = 0;
	uint64_t page = d->profile->tight ? draw_hot_hole(d) : below(d, PAGES);

	/* Fill a hole, if there is one not far away. */
	while (page < PAGES && d->mapped[page] && ++holes < PAGES)
		page = (page + 1) % PAGES;
	if (d->profile->tight && page < PAGES) {
		op->addr = page_addr(page);
	} else if (page < PAGES && !d->mapped[page] && !one_in(d, 4)) {
		uint64_t start = page;

		while (page < PAGES && !d->mapped[page] && page - start < (d->sparse ? 48 : 1024))
			page++;
		op->addr = page_addr(start);
		op->bytes = (page - start) * PAGE_BYTES;
	} else if (one_in(d, 8)) {
		op->flags |= OP_NOREPLACE;
	}
	op->detail = one_in(d, 12) ? SYS_PROT_READ : SYS_PROT_READ | SYS_PROT_WRITE;
	if (one_in(d, 20))
		op->flags |= OP_SHARED;
	mark(d, op->addr, op->bytes, true);
}

static void draw_mremap(struct drawer *d, struct op *op)
{
	uint64_t pages = op->bytes / PAGE_BYTES;
	uint64_t to_page = below(d, PAGES);

	if (d->profile->tight || one_in(d, 2))
		to_page = draw_page(d);
	if (pages >= 512 && !one_in(d, 4))
		to_page = to_page / 512 * 512;
	to_page = MIN(to_page, PAGES - MIN(pages, PAGES));
	op->to = page_addr(to_page);
	if (one_in(d, 4))
		op->flags |= OP_DONTUNMAP;
	else
		mark(d, op->addr, op->bytes, false);
	mark(d, op->to, op->bytes, true);
}

static void draw_advice(struct drawer *d, struct op *op)
{
	static const enum sim_advice advices[] = {
		SIM_ADVICE_DONTNEED, SIM_ADVICE_DONTNEED, SIM_ADVICE_DONTNEED,
		SIM_ADVICE_DONTNEED, SIM_ADVICE_FREE, SIM_ADVICE_HUGEPAGE,
		SIM_ADVICE_HUGEPAGE, SIM_ADVICE_NOHUGEPAGE, SIM_ADVICE_COLLAPSE,
		SIM_ADVICE_POPULATE_READ, SIM_ADVICE_POPULATE_WRITE, SIM_ADVICE_PAGEOUT,
		SIM_ADVICE_GUARD_INSTALL, SIM_ADVICE_GUARD_REMOVE, SIM_ADVICE_DONTFORK,
		SIM_ADVICE_DOFORK,
	};

	op->detail = advices[below(d, ARRAY_SIZE(advices))];
	/* Guards would stay for long otherwise. */
	if (op->detail == SIM_ADVICE_GUARD_INSTALL && !one_in(d, 4))
		op->detail = SIM_ADVICE_DONTNEED;
	if (op->detail == SIM_ADVICE_DONTFORK && d->wipes)
		op->detail = SIM_ADVICE_WIPEONFORK;
	if (op->detail == SIM_ADVICE_DOFORK && d->wipes)
		op->detail = SIM_ADVICE_KEEPONFORK;
}

static void draw_accesses(struct drawer *d, struct op *op, uint32_t max)
{
	bool is_batch = op->type == OP_BATCH;

	op->access_count = 1 + (uint32_t)below(d, max);
	for (uint32_t i = 0; i < op->access_count; i++) {
		uint64_t kind = below(d, 16);
		struct op_access *access = &op->access[i];

		access->addr = draw_word(d);
		if (is_batch)
			access->type = kind < 10 ? ACCESS_STORE : ACCESS_ADD;
		else
			access->type = kind < 6 ? ACCESS_LOAD :
				       kind < 11 ? ACCESS_STORE :
				       kind < 14 ? ACCESS_ADD :
				       kind < 15 ? ACCESS_EXCHANGE :
						   ACCESS_BULK_READ;
	}
	if (one_in(d, 5)) {
		op->flags |= OP_FENCE;
		op->access[op->access_count - 1].type = ACCESS_STORE;
	}
	if (one_in(d, 3))
		op->flags |= OP_ASYNC;
}

static void draw_call(struct drawer *d, struct op *op)
{
	struct span span = draw_span(d);

	op->addr = span.start;
	op->bytes = span_bytes(span);
	switch (op->type) {
	case OP_MMAP:
		draw_mmap(d, op);
		break;
	case OP_MUNMAP:
		mark(d, op->addr, op->bytes, false);
		break;
	case OP_REMAKE:
		op->detail = SYS_PROT_READ | SYS_PROT_WRITE;
		mark(d, op->addr, op->bytes, true);
		break;
	case OP_MREMAP:
		draw_mremap(d, op);
		break;
	case OP_MADVISE:
		draw_advice(d, op);
		break;
	case OP_MPROTECT:
		op->detail = one_in(d, 3) ? SYS_PROT_READ : SYS_PROT_READ | SYS_PROT_WRITE;
		break;
	case OP_MLOCK:
		op->flags |= one_in(d, 2) ? OP_ON : 0;
		break;
	case OP_PREFETCH:
		op->flags |= one_in(d, 3) ? 0 : OP_TO_DEVICE;
		if (d->profile->weight[OP_ADVISE] && one_in(d, 2))
			op->flags |= OP_ADVISED;
		break;
	case OP_ADVISE:
		/* Most often of atomics, and some pages. */
		op->detail = one_in(d, 2) ? one_in(d, 2) ? 6 : 3 : (uint32_t)below(d, 9);
		if (!one_in(d, 4))
			op->bytes = MIN(op->bytes, 4 * PAGE_BYTES);
		if (d->profile->peers && one_in(d, 2)) {
			op->detail = USVM_LOCATION_DEVICE;
			op->addr = ALIGN_DOWN(op->addr, HUGE_BYTES);
			op->bytes = HUGE_BYTES;
		}
		break;
	case OP_BIND:
		op->addr = ALIGN_DOWN(op->addr, HUGE_BYTES);
		op->bytes = HUGE_BYTES;
		op->flags |= one_in(d, 4) ? 0 : OP_ON;
		op->flags |= one_in(d, 4) ? OP_READ_ONLY : 0;
		break;
	default:
		break;
	}
}

static void draw_op(struct drawer *d, struct op *op)
{
	uint64_t ticket = below(d, d->weight_sum);

	op->thread = (uint32_t)below(d, d->threads);
	for (op->type = 0; ticket >= d->profile->weight[op->type]; op->type++)
		ticket -= d->profile->weight[op->type];
	switch (op->type) {
	case OP_LOAD:
	case OP_STORE:
	case OP_ADD:
	case OP_EXCHANGE:
	case OP_READ_CALL:
	case OP_WRITE_CALL:
	case OP_PIN:
	case OP_QUERY:
		op->addr = draw_word(d);
		break;
	case OP_FORK:
		op->flags |= one_in(d, 2) ? OP_RAW : 0;
		op->flags |= one_in(d, 2) ? OP_UNMAPS : 0;
		draw_accesses(d, op, PLAN_ACCESSES_MAX);
		break;
	case OP_KERNEL:
		draw_accesses(d, op, PLAN_ACCESSES_MAX);
		break;
	case OP_BATCH:
		draw_accesses(d, op, 3);
		break;
	case OP_BOUNCE:
		op->addr = draw_word(d);
		op->access_count = 1;
		op->access[0] = (struct op_access){ ACCESS_LOAD, op->addr };
		break;
	case OP_VM:
		op->flags |= one_in(d, 6) ? OP_READ_ONLY : one_in(d, 3) ? OP_PIECES : 0;
		break;
	case OP_DEVICE:
		op->flags |= one_in(d, 3) ? 0 : OP_OWN;
		break;
	case OP_OBJECT:
		op->detail = (uint32_t)below(d, 16);
		op->addr = below(d, 512);
		op->bytes = PAGE_BYTES << below(d, 10); /* 2 MiB at most */
		break;
	case OP_UNPLUG:
		op->flags |= one_in(d, 6) ? 0 : OP_OWN;
		break;
	default:
		draw_call(d, op);
		break;
	}
}

/* The first operations map the playground, some of it. */
static void draw_first(struct drawer *d, struct op *op, uint64_t number)
{
	op->type = OP_MMAP;
	op->addr = PLAY_START + number * HUGE_BYTES;
	op->bytes = HUGE_BYTES;
	if (d->sparse) {
		uint64_t page = d->hot[number] - d->hot[number] % 16;

		op->addr = page_addr(page);
		op->bytes = PAGE_BYTES * MIN(12 + below(d, 40), PAGES - page);
	}
	op->detail = SYS_PROT_READ | SYS_PROT_WRITE;
	mark(d, op->addr, op->bytes, true);
}

static size_t first_count(const struct drawer *d)
{
	if (d->profile->own)
		return 0;
	return d->profile->tight ? 3 : d->sparse ? HOT_MAX : PLAN_BLOCKS - 1;
}

/* The next give most threads a device. */
static bool draw_device(struct drawer *d, struct op *op, size_t number)
{
	if (!d->profile->peers || number >= d->threads || one_in(d, 4))
		return false;
	op->type = OP_DEVICE;
	op->thread = (uint32_t)number;
	op->flags = OP_OWN;
	return true;
}

int plan_create(uint64_t seed, const struct profile *profile, size_t count,
		struct plan *plan)
{
	struct drawer *d = calloc(1, sizeof(*d));

	*plan = (struct plan){ .profile = profile, .seed = seed, .count = count };
	plan->ops = calloc(count, sizeof(*plan->ops));
	if (!d || !plan->ops) {
		free(d);
		free(plan->ops);
		return -ENOMEM;
	}
	d->profile = profile;
	prng_seed(&d->prng, seed ^ 0x70726f6772616d00u);
	draw_setting(d, seed, &plan->setting);
	d->wipes = one_in(d, 2);
	d->threads = plan->setting.threads;
	for (int i = 0; i < OP_COUNT; i++)
		d->weight_sum += profile->weight[i];
	d->sparse = profile->tight || !one_in(d, 3);
	/* Some together, in few chunks, and some alone. */
	for (int i = 0; i < HOT_MAX; i++)
		d->hot[i] = profile->own ? (uint32_t)below(d, PLAN_SLOTS * PLAN_SLOT_PAGES) :
			    profile->tight ? 0x40 + (uint32_t)below(d, 16) :
			    i % 4 ? (d->hot[i - 1] + (uint32_t)below(d, 20)) % PAGES :
				    (uint32_t)below(d, PAGES);
	for (size_t i = 0; i < count; i++) {
		struct op *op = &plan->ops[i];

		op->number = (uint32_t)i;
		if (i < first_count(d))
			draw_first(d, op, i);
		else if (!draw_device(d, op, i - first_count(d)))
			draw_op(d, op);
	}
	free(d);
	return 0;
}

void plan_destroy(struct plan *plan)
{
	free(plan->ops);
	plan->ops = NULL;
}

const char *plan_schedule(const struct plan *plan)
{
	static const char *const names[] = {
		[SIM_POLICY_RANDOM] = "random",
		[SIM_POLICY_PRIORITY] = "priorities",
		[SIM_POLICY_STARVE] = "starving",
	};

	return names[plan->setting.sim.policy];
}
