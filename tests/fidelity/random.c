/* SPDX-License-Identifier: MIT */
/*
 * DOC: random scripts
 *
 * They play with few pages, at the starts of a few blocks, so that acts meet; and with whole
 * blocks, for huge pages. The first acts map and register something, most of the time.
 */
#include "script.h"

#include "base/compiler.h"
#include "sys/sim.h"

static struct prng prng;

static uint32_t below(uint32_t limit)
{
	return (uint32_t)prng_below(&prng, limit);
}

static bool one_in(uint32_t n)
{
	return below(n) == 0;
}

/* Where most of it happens: block 0 of small pages, block 1 may be huge. */
static struct place some_place(bool arena)
{
	uint32_t block = below(8);
	struct place place;

	block = arena ? below(ARENA_BLOCKS) : block < 4 ? 0 : block < 7 ? 1 : 2;
	if (one_in(16)) {
		place = (struct place){ .first = 0, .count = 512 };
	} else {
		place.first = below(8);
		place.count = 1 + (one_in(2) ? 0 : below(4));
		if (one_in(12))
			place.count = 12;
		else if (one_in(24))
			place.first += 504;
		place.count = MIN(place.count, 512 - place.first);
	}
	place.first += block * 512 + (arena ? ARENA_FIRST : 0);
	return place;
}

static struct place one_page(bool arena)
{
	struct place place = some_place(arena);

	place.count = 1;
	return place;
}

static const struct {
	uint8_t type;
	uint8_t weight;
} weights[] = {
	{ ACT_REGISTER, 8 }, { ACT_UNREGISTER, 3 }, { ACT_MOVE, 14 },     { ACT_COPY, 8 },
	{ ACT_COPY_FROM, 3 }, { ACT_ZEROPAGE, 5 },  { ACT_WAKE, 4 },      { ACT_POISON, 2 },
	{ ACT_PROTECT, 4 },  { ACT_UNPROTECT, 3 },  { ACT_READ, 40 },     { ACT_QUERY, 2 },
	{ ACT_IN_FLIGHT, 2 }, { ACT_WIPED, 1 },     { ACT_KICK, 1 },      { ACT_ACCESS, 8 },
	{ ACT_ADVISE, 2 },   { ACT_EMPTY, 2 },      { ACT_MMAP, 6 },      { ACT_MUNMAP, 6 },
	{ ACT_MREMAP, 8 },   { ACT_MADVISE, 14 },   { ACT_MPROTECT, 4 },  { ACT_MLOCK, 2 },
	{ ACT_MUNLOCK, 2 },  { ACT_LOAD, 12 },      { ACT_STORE, 20 },    { ACT_ADD, 6 },
	{ ACT_COPY_IN, 3 },  { ACT_COPY_OUT, 3 },   { ACT_FORK, 2 },      { ACT_EXIT, 1 },
	{ ACT_OPEN, 1 },     { ACT_CLOSE, 1 },
};

static uint8_t some_type(void)
{
	uint32_t sum = 0, at;

	for (size_t i = 0; i < ARRAY_SIZE(weights); i++)
		sum += weights[i].weight;
	at = below(sum);
	for (size_t i = 0;; i++) {
		if (at < weights[i].weight)
			return weights[i].type;
		at -= weights[i].weight;
	}
}

static uint8_t some_who(uint8_t type)
{
	if (type < ACT_ACCESS)
		return WHO_MONITOR;
	if (type <= ACT_EMPTY)
		return WHO_WORKER;
	if (type == ACT_EXIT)
		return (uint8_t)(WHO_CHILD + below(2));
	if (type == ACT_FORK)
		return (uint8_t)(WHO_THREAD + below(3));
	return (uint8_t)(WHO_THREAD + (one_in(8) ? below(5) : below(3)));
}

static uint32_t some_prot(void)
{
	static const uint32_t prots[] = { 3, 3, 3, 3, 1, 0, 7 };

	return prots[below(ARRAY_SIZE(prots))];
}

static void choose_mremap(struct act *act)
{
	act->flags = one_in(8) ? 0 : SIM_MREMAP_MAYMOVE | SIM_MREMAP_FIXED;
	if (act->flags && one_in(3))
		act->flags |= SIM_MREMAP_DONTUNMAP;
	act->d = some_place(false);
	if (!one_in(4)) {
		act->d.count = act->s.count;
		if (act->d.first + act->d.count > PROGRAM_BLOCKS * 512)
			act->d.first = 0;
	}
}

static void choose_places(struct act *act)
{
	bool home = one_in(2);

	switch (act->type) {
	case ACT_MOVE:
	case ACT_COPY_FROM: /* mostly between the program and the arena */
		home = act->type == ACT_COPY_FROM || home;
		act->s = some_place(one_in(8) ? !home : home);
		act->d = some_place(one_in(8) && act->type == ACT_MOVE ? home : !home);
		act->d.count = act->s.count;
		if (act->d.first % 512 + act->d.count > 512)
			act->d.first -= act->d.first % 512;
		return;
	case ACT_ADVISE:
	case ACT_EMPTY:
		act->s = some_place(!one_in(4));
		return;
	case ACT_REGISTER:
	case ACT_UNREGISTER:
	case ACT_PROTECT:
	case ACT_UNPROTECT:
	case ACT_ZEROPAGE:
	case ACT_COPY:
		act->s = some_place(one_in(6));
		return;
	case ACT_LOAD:
	case ACT_STORE:
	case ACT_ADD:
	case ACT_COPY_IN:
	case ACT_COPY_OUT:
	case ACT_ACCESS:
		act->s = one_page(false);
		return;
	default:
		act->s = some_place(false);
	}
}

static void choose(struct act *act, size_t number)
{
	uint8_t type = some_type();

	*act = (struct act){ .type = type, .who = some_who(type) };
	act->value = number * 1000 + 1;
	act->uffd = (uint8_t)(one_in(6) ? below(3) : 0);
	choose_places(act);
	switch (type) {
	case ACT_REGISTER:
		act->flags = 1 + below(3);
		break;
	case ACT_MOVE:
		act->flags = one_in(4) ? below(4) : 0;
		break;
	case ACT_QUERY:
		act->flags = below(2);
		break;
	case ACT_ACCESS:
		act->flags = one_in(2) ? below(2) : below(SYS_ACCESS_SIGNED_MAX + 1);
		break;
	case ACT_ADVISE:
		act->flags = below(SYS_ADVICE_COLLAPSE + 1);
		break;
	case ACT_MMAP:
		act->flags = some_prot() | (one_in(12) ? (uint32_t)MAP_IS_SHARED : 0) |
			     (one_in(6) ? (uint32_t)MAP_KEEPS : 0);
		break;
	case ACT_MREMAP:
		choose_mremap(act);
		break;
	case ACT_MADVISE:
		act->flags = one_in(3) ? SIM_ADVICE_DONTNEED : below(SIM_ADVICE_DONTDUMP + 1);
		break;
	case ACT_MPROTECT:
		act->flags = some_prot();
		break;
	default:
		break;
	}
}

static void begin_with(struct script *script)
{
	static const struct act acts[] = {
		{ .who = WHO_THREAD, .type = ACT_MMAP, .flags = 3, .s = { 0, 16 } },
		{ .who = WHO_THREAD, .type = ACT_MMAP, .flags = 3, .s = { 512, 1024 } },
		{ .who = WHO_THREAD, .type = ACT_MADVISE, .flags = SIM_ADVICE_HUGEPAGE,
		  .s = { 512, 512 } },
		{ .type = ACT_REGISTER, .flags = 3, .s = { ARENA_FIRST, 1024 } },
		{ .type = ACT_REGISTER, .flags = 1, .s = { 0, 16 } },
		{ .type = ACT_REGISTER, .flags = 3, .s = { 512, 1024 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(acts); i++)
		if (!one_in(5))
			script->acts[script->count++] = acts[i];
}

void script_random(struct script *script, uint64_t seed, size_t count)
{
	static const uint32_t withouts[] = { SYS_FEATURE_WP_ASYNC, SYS_FEATURE_EVENT_FORK,
					     SYS_FEATURE_KERNEL_FAULTS, SYS_FEATURE_WP_ASYNC };

	prng_seed(&prng, seed);
	*script = (struct script){ .is_random = true };
	if (one_in(2))
		script->without = withouts[below(ARRAY_SIZE(withouts))];
	begin_with(script);
	while (script->count < count) {
		choose(&script->acts[script->count], script->count);
		script->count++;
	}
}
