/* SPDX-License-Identifier: MIT */
/*
 * DOC: memory that goes to and fro
 *
 * A turn: the CPU adds one to a word, which brings the memory home; a kernel adds one,
 * which takes it to the device; the CPU is told. The rivals have a thread for the device's
 * part: it is asked, takes the memory and adds one to its own place.
 *
 *     protect       the whole allocation is copied there and back
 *     bare handler  one MOVE there and one back
 *
 * Thrash control leaves such memory alone after a while, or moves it in small pieces, as a
 * program has it by default; without it, every turn moves all of it, and that is looked at.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "rivals.h"

static void add_one(uint64_t *word)
{
	__atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
}

/* --- rivals ------------------------------------------------------------------------------ */

struct protect_game {
	struct bench_protect protect;
	struct bench_helper *helper;
};

static void protect_turn(void *arg)
{
	const struct protect_game *game = arg;

	bench_protect_take(&game->protect);
	add_one((void *)game->protect.store);
}

struct move_game {
	struct bench_handler handler;
	struct bench_helper *helper;
};

static void move_turn(void *arg)
{
	const struct move_game *game = arg;

	bench_handler_take(&game->handler, 0);
	add_one((void *)game->handler.away);
}

static void rival_turns(unsigned char *home, struct bench_helper *helper, size_t turns,
			struct bench_side *side)
{
	for (size_t i = 0; i < turns; i++) {
		uint64_t start = bench_now_ns();

		add_one((void *)home);
		bench_helper_ask(helper);
		bench_sample(side, bench_us_since(start));
	}
}

/* --- usvm -------------------------------------------------------------------------------- */

struct turn_args {
	uint64_t at;
};

static void turn_kernel(struct usvm_lane *lane, const void *args)
{
	uint64_t at = ((const struct turn_args *)args)->at;

	usvm_store64(lane, at, usvm_load64(lane, at) + 1);
}

static void usvm_turns(const struct bench_device *device, unsigned char *home, size_t bytes,
		       size_t turns, bool moves, struct bench_side *side)
{
	struct turn_args args = { (uintptr_t)home };

	for (size_t i = 0; i < turns; i++) {
		uint64_t start = bench_now_ns();

		add_one((void *)home);
		bench_run(device, turn_kernel, 1, &args, sizeof(args));
		bench_sample(side, bench_us_since(start));
		if (moves)
			bench_expect(device, home, bytes, USVM_PAGE_DEVICE);
	}
}

/* --- rows -------------------------------------------------------------------------------- */

struct game {
	const char *name;
	size_t bytes;
	bool controlled; /* thrash control, as by default */
};

static const struct game games[] = {
	{ "2 MiB block, moved at each turn", BENCH_HUGE, false },
	{ "2 MiB block, with thrash control", BENCH_HUGE, true },
	{ "4 KiB page, moved at each turn", BENCH_PAGE, false },
	{ "4 KiB page, with thrash control", BENCH_PAGE, true },
};

static unsigned char *map_alone(size_t bytes)
{
	unsigned char *at = bench_map(BENCH_HUGE, bytes == BENCH_HUGE);

	if (bytes < BENCH_HUGE && mprotect(at + bytes, BENCH_HUGE - bytes, PROT_NONE))
		bench_fail("mprotect: %s", strerror(errno));
	memset(at, 0, bytes);
	return at;
}

/* Of what a program has by default. */
static void want(struct bench_row *row, const struct game *game, enum bench_place place)
{
	if (!game->controlled)
		return;
	if (game->bytes == BENCH_PAGE)
		bench_want(row, BENCH_RATIO, BENCH_MEDIAN, 2, 1.3);
	else
		bench_want(row, BENCH_RATIO, BENCH_MEDIAN, 1,
			   place == BENCH_SAME_CORE ? 0.2 : 0.5);
}

static void open_usvm(struct bench_device *device, const struct game *game,
		      enum bench_place place)
{
	char spec[64];

	snprintf(spec, sizeof(spec), "model:vram=64M,engines=1%s",
		 game->controlled ? "" : ",thrash_control=no");
	bench_device_open(device, spec);
	/* Here the CPU and the engine are the two that take turns. */
	if (place == BENCH_SAME_CORE)
		bench_device_pin(0, 0);
}

static void check(const unsigned char *home, uint64_t want)
{
	if (*(const uint64_t *)(const void *)home != want)
		bench_fail("a turn was lost");
}

static void measure(struct bench *bench, const struct game *game, enum bench_place place,
		    size_t turns)
{
	struct bench_row *row = bench_row(bench, place, "us", "%s", game->name);
	size_t samples = turns * bench->rounds;
	struct bench_side *usvm = bench_side(row, "usvm", samples);
	struct bench_side *copies = bench_side(row, "mprotect and SIGSEGV", samples);
	struct bench_side *moves = bench_side(row, "bare handler", samples);
	unsigned int core = place == BENCH_SAME_CORE ? 0 : 1;
	unsigned char *home = map_alone(game->bytes);
	struct protect_game protect;
	struct move_game move;
	struct bench_device device;

	want(row, game, place);
	if (place == BENCH_SAME_CORE)
		bench_pin(0, 0);
	else
		bench_unpin(0);
	bench_protect_start(&protect.protect, game->bytes, game->bytes == BENCH_HUGE);
	memset(protect.protect.home, 0, game->bytes);
	protect.helper = bench_helper_start(core, protect_turn, &protect);
	bench_handler_start(&move.handler, game->bytes, game->bytes,
			    game->bytes == BENCH_HUGE, core);
	memset(move.handler.home, 0, game->bytes);
	move.helper = bench_helper_start(core, move_turn, &move);
	for (unsigned int i = 0; i < bench->rounds; i++) {
		rival_turns(protect.protect.home, protect.helper, turns, copies);
		rival_turns(move.handler.home, move.helper, turns, moves);
		open_usvm(&device, game, place);
		usvm_turns(&device, home, game->bytes, turns, !game->controlled, usvm);
		check(home, 2 * (i + 1) * turns);
		bench_device_close(&device);
	}
	check(protect.protect.home, 2 * bench->rounds * turns);
	check(move.handler.home, 2 * bench->rounds * turns);
	bench_helper_stop(protect.helper);
	bench_helper_stop(move.helper);
	bench_protect_stop(&protect.protect);
	bench_handler_stop(&move.handler);
	munmap(home, BENCH_HUGE);
}

int main(int argc, char **argv)
{
	struct bench bench;

	bench_init(&bench, "pingpong", "What does memory cost that goes to and fro?", argc,
		   argv);
	for (size_t i = 0; i < sizeof(games) / sizeof(games[0]); i++)
		measure(&bench, &games[i], BENCH_SAME_CORE, bench.smoke ? 8 : 200);
	for (size_t i = 0; i < sizeof(games) / sizeof(games[0]) && bench_places(&bench) > 1;
	     i++)
		measure(&bench, &games[i], BENCH_FREE, 200);
	return bench_report(&bench);
}
