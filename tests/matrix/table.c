/* SPDX-License-Identifier: MIT */
/*
 * DOC: The table
 *
 * rows.inc is read twice: for prototypes (rows.h), each of which must have its function
 * for this program to be linked, and here for the table. limits.inc says which cells are
 * not as they are natively. docs/matrix.md is both, printed.
 */
#include <errno.h>

#include "rows.h"

#define GROUP(title) { NULL, title, ANON, NULL, NULL, 0 },
#define ROW(name, title, memory, prepare, act, flags) \
	{ #name, title, memory, prepare, act, flags },

const struct row rows[] = {
#include "rows.inc"
};
const size_t row_count = sizeof(rows) / sizeof(rows[0]);

uint64_t zero_page_hash(void)
{
	static const uint64_t zeros[LIVE_PAGE / 8];
	static uint64_t hash;

	if (!hash)
		hash = page_hash(zeros);
	return hash;
}

uint64_t first_hash(uint32_t index)
{
	static uint64_t hashes[LIVE_HUGE / LIVE_PAGE];
	uint64_t words[LIVE_PAGE / 8];

	if (!hashes[index]) {
		live_fill(words, LIVE_PAGE, SEED, index * LIVE_PAGE);
		hashes[index] = page_hash(words);
	}
	return hashes[index];
}

uint64_t first_head(uint32_t index)
{
	uint64_t words[LIVE_PAGE / 8];

	live_fill(words, LIVE_PAGE, SEED, index * LIVE_PAGE);
	return page_head(words);
}

/* --- limits ---------------- */

/* How a limit may show itself. Never: zeros where there was data. */

/* What the page had before the row, and what the row took away. */
static bool is_old_data(const struct difference *d)
{
	return d->kind != DIFFERENT_NOTE && d->got && d->got == d->old;
}

static bool gpu_sees_old_data(const struct difference *d)
{
	return d->kind == DIFFERENT_GPU && is_old_data(d);
}

static bool is_refused(const struct difference *d)
{
	return d->kind == DIFFERENT_NOTE && (int64_t)d->got < 0;
}

/* rows_advice.c: the GPU writes to the page at a quarter. */
static bool gpu_wrote(const struct difference *d)
{
	if (d->kind == DIFFERENT_NOTE)
		return !strcmp(d->name, "write") && d->got == 0;
	return d->index == 4 && d->got != zero_page_hash();
}

static bool gpu_finds_nothing(const struct difference *d)
{
	return d->kind == DIFFERENT_GPU && !d->got && d->error == EFAULT;
}

/* Nothing is read. */
static bool is_not_read(const struct difference *d)
{
	return is_refused(d) || (d->kind == DIFFERENT_PAGE && !strcmp(d->name, "peeked") &&
				 d->got != zero_page_hash());
}

static bool is_not_resident(const struct difference *d)
{
	return d->kind == DIFFERENT_NOTE && !strcmp(d->name, "resident") && d->got == 0;
}

/* Refused, and nothing has moved: what is seen is what would be without the call. */
static bool has_not_moved(const struct difference *d)
{
	if (d->kind == DIFFERENT_NOTE)
		return (int64_t)d->got == -EFAULT;
	return d->kind == DIFFERENT_COUNT || is_old_data(d) || (!d->got && d->native);
}

#define ALONE (1u << BY_MAIN | 1u << BY_THREAD)
#define BESIDE_GPU (1u << BY_MAIN_BESIDE_GPU)
#define ANYBODY (ALONE | BESIDE_GPU)
#define BOTH (1u << MODE_MOVE | 1u << MODE_COPY)
#define ON_DEVICE (IN(DEVICE) | IN(PART))

#define LIMIT(row, number, columns, whos, modes, allows) \
	{ #row, number, columns, whos, modes, false, allows },
#define LIMIT_PLAIN(row, number, columns, whos, modes, allows) \
	{ #row, number, columns, whos, modes, true, allows },
#define LIMIT_TEXT(title, what)

const struct limit limits[] = {
#include "limits.inc"
};
const size_t limit_count = sizeof(limits) / sizeof(limits[0]);

#undef LIMIT
#undef LIMIT_PLAIN
#undef LIMIT_TEXT
#define LIMIT(row, number, columns, whos, modes, allows)
#define LIMIT_PLAIN(row, number, columns, whos, modes, allows)
#define LIMIT_TEXT(title, what) { title, what },

const struct limit_text limit_texts[] = {
#include "limits.inc"
};
const size_t limit_text_count = sizeof(limit_texts) / sizeof(limit_texts[0]);

const struct limit *limit_find(const struct row *row, enum column column, enum who who,
			       enum mode mode)
{
	for (size_t i = 0; i < limit_count; i++) {
		const struct limit *limit = &limits[i];

		if (limit->plain_only && cell_marked)
			continue;
		if (!strcmp(limit->row, row->name) && limit->columns >> column & 1 &&
		    limit->whos >> who & 1 && limit->modes >> mode & 1)
			return limit;
	}
	return NULL;
}

/* --- the page of the documentation ---------------- */

/* ok, -, or the numbers of the limits of a cell, over who acts and both modes. */
static void print_cell(const struct row *row, enum column column)
{
	bool any = false;

	if (cell_impossible(row, column)) {
		printf(" - |");
		return;
	}
	for (uint32_t number = 1; number <= limit_text_count; number++) {
		unsigned int cells = 0;

		for (unsigned int i = 0; i < WHO_COUNT * MODE_COUNT; i++) {
			const struct limit *limit = limit_find(row, column, i / MODE_COUNT,
							       i % MODE_COUNT);

			cells += limit && limit->number == number;
		}
		if (!cells)
			continue;
		printf("%s limit %u", any ? "," : "", number);
		if (cells < WHO_COUNT * MODE_COUNT)
			printf(" (in part)");
		any = true;
	}
	printf("%s |", any ? "" : row->flags & IN_PLACE ? " in place" : " ok");
}

static void print_head(const char *title)
{
	printf("\n| %s |", title);
	for (enum column column = 0; column < COLUMN_COUNT; column++)
		printf(" %s |", column_names[column]);
	printf("\n|---|");
	for (enum column column = 0; column < COLUMN_COUNT; column++)
		printf("---|");
	printf("\n");
}

static bool is_plain_only(size_t number)
{
	for (size_t i = 0; i < limit_count; i++) {
		if (limits[i].number == number && !limits[i].plain_only)
			return false;
	}
	return true;
}

void document(void)
{
	unsigned int acts = 0;

	for (size_t i = 0; i < row_count; i++)
		acts += rows[i].act != NULL;
	printf("# The matrix\n\n"
	       "What programs do to memory, by where the memory is. Made by `build/tests/matrix/"
	       "matrix --document`;\nthe test `matrix/document` compares. "
	       "[Testing](testing.md#the-matrix) says how a cell is run.\n\n"
	       "%u rows. Each cell is run by the main thread, by another thread and with the GPU "
	       "at work on the\nsame pages, each with device memory moved to and copied to: "
	       "six runs. **ok**: what the call returns\nand every byte after it, for the CPU and "
	       "for the GPU, are what they are without usvm. **in place**: the\nsame, of memory "
	       "that stays at home. **-**: such memory never is there. **limit**: not so, see "
	       "below.\n", acts);
	for (size_t i = 0; i < row_count; i++) {
		if (!rows[i].act) {
			print_head(rows[i].title);
			continue;
		}
		printf("| %s |", rows[i].title);
		for (enum column column = 0; column < COLUMN_COUNT; column++)
			print_cell(&rows[i], column);
		printf("\n");
	}
	printf("\n## Limits\n\nEach is tested to be so: an error, or old data; never zeros in "
	       "place of data. [Limits](limits.md) has\nwhat helps.\n\n");
	for (size_t i = 0; i < limit_text_count; i++)
		printf("%zu. **%s** %s%s\n", i + 1, limit_texts[i].title, limit_texts[i].what,
		       is_plain_only(i + 1) ? " Not with `entries=marked`." : "");
}
