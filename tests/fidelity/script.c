/* SPDX-License-Identifier: MIT */
/*
 * DOC: scripts as text
 *
 * An act is written and read by one description of its arguments (FOR_ACTS), so what a
 * failure prints is what --script reads.
 */
#include "script.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "sys/sys.h"

#define NAMES_MAX 20

static const struct {
	const char *name;
	const char *arguments;
} types[] = {
#define ACT_ROW(name, text, arguments) [ACT_##name] = { text, arguments },
	FOR_ACTS(ACT_ROW)
#undef ACT_ROW
};

static const char *const whos[WHO_COUNT] = { "m", "w", "t0", "t1", "t2", "c0", "c1" };

/* Names of flags, bit by bit, or of values. */
static const char *const names[ACT_COUNT][NAMES_MAX] = {
	[ACT_REGISTER] = { "wp", "missing" },
	[ACT_MOVE] = { "dontwake", "holes" },
	[ACT_QUERY] = { "here", "or_next" },
	[ACT_ACCESS] = { "read", "write", "add", "sub", "and", "or", "xor", "exchange",
			 "compare_exchange", "min", "max", "signed_min", "signed_max" },
	[ACT_ADVISE] = { "hugepage", "nohugepage", "dontfork", "dofork", "dontdump", "dontneed",
			 "populate_write", "collapse" },
	[ACT_MMAP] = { "read", "write", "exec", "shared", "keep" },
	[ACT_MREMAP] = { "maymove", "fixed", "dontunmap" },
	[ACT_MADVISE] = { "dontneed", "free", "remove", "hugepage", "nohugepage", "collapse",
			  "populate_read", "populate_write", "guard_install", "guard_remove",
			  "dontfork", "dofork", "wipeonfork", "keeponfork", "dontdump" },
	[ACT_MPROTECT] = { "read", "write", "exec" },
};

const char *act_name(unsigned int type)
{
	return type < ACT_COUNT ? types[type].name : NULL;
}

const char *who_name(unsigned int who)
{
	return whos[who];
}

/* --- writing -------------------------------------------------------------- */

struct writer {
	char *at;
	size_t left;
	int total;
};

static void PRINTF(2, 3) put(struct writer *w, const char *format, ...)
{
	va_list list;
	int got;

	va_start(list, format);
	got = vsnprintf(w->at, w->left, format, list);
	va_end(list);
	w->total += got;
	got = MIN(got, (int)w->left - 1);
	w->at += got;
	w->left -= (size_t)got;
}

static void put_place(struct writer *w, struct place place)
{
	uint32_t page = place.first % ARENA_FIRST;

	put(w, "%c%u:%u+%u", place.first >= ARENA_FIRST ? 'A' : 'P', page / 512, page % 512,
	    place.count);
}

int place_format(struct place place, char *buffer, size_t bytes)
{
	struct writer w = { buffer, bytes, 0 };

	put_place(&w, place);
	return w.total;
}

static void put_flags(struct writer *w, unsigned int type, uint32_t flags)
{
	const char *comma = "";

	for (unsigned int i = 0; i < NAMES_MAX && names[type][i]; i++) {
		if (!(flags >> i & 1))
			continue;
		put(w, "%s%s", comma, names[type][i]);
		comma = ",";
	}
	if (!*comma)
		put(w, "none");
}

int act_format(const struct act *act, char *buffer, size_t bytes)
{
	struct writer w = { buffer, bytes, 0 };

	put(&w, "%s %s", whos[act->who], types[act->type].name);
	for (const char *c = types[act->type].arguments; *c; c++) {
		put(&w, " ");
		if (*c == 'u')
			put(&w, "u%u", act->uffd);
		else if (*c == 's')
			put_place(&w, act->s);
		else if (*c == 'd')
			put_place(&w, act->d);
		else if (*c == 'v')
			put(&w, "%llu", (unsigned long long)act->value);
		else if (*c == 'e')
			put(&w, "%s", names[act->type][act->flags]);
		else
			put_flags(&w, act->type, act->flags);
	}
	return w.total;
}

/* --- reading -------------------------------------------------------------- */

static int find(const char *word, size_t length, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count && list[i]; i++)
		if (strlen(list[i]) == length && !memcmp(word, list[i], length))
			return (int)i;
	return -1;
}

static bool take_place(const char *word, struct place *place)
{
	unsigned int block, page, count;
	bool is_arena = *word == 'A';

	if ((*word != 'P' && *word != 'A') ||
	    sscanf(word + 1, "%u:%u+%u", &block, &page, &count) != 3)
		return false;
	page += block * 512;
	if (!count || page + count > 512 * (is_arena ? ARENA_BLOCKS : PROGRAM_BLOCKS))
		return false;
	place->first = page + (is_arena ? ARENA_FIRST : 0);
	place->count = count;
	return true;
}

static bool take_flags(const char *word, unsigned int type, bool one, uint32_t *flags)
{
	if (!strcmp(word, "none"))
		return !one;
	for (;;) {
		size_t length = strcspn(word, ",");
		int i = find(word, length, names[type], NAMES_MAX);

		if (i < 0)
			return false;
		*flags = one ? (uint32_t)i : *flags | 1u << i;
		if (!word[length])
			return true;
		word += length + 1;
	}
}

static bool take_argument(char kind, const char *word, struct act *act)
{
	char *end;

	switch (kind) {
	case 'u':
		act->uffd = (uint8_t)(word[1] - '0');
		return word[0] == 'u' && act->uffd < 10 && !word[2];
	case 's':
		return take_place(word, &act->s);
	case 'd':
		return take_place(word, &act->d);
	case 'v':
		act->value = strtoull(word, &end, 10);
		return end != word && !*end;
	default:
		return take_flags(word, act->type, kind == 'e', &act->flags);
	}
}

static bool take_act(char *line, struct act *act)
{
	char *save;
	const char *word = strtok_r(line, " \t", &save);
	int who = find(word, strlen(word), whos, WHO_COUNT);
	unsigned int type;

	*act = (struct act){ 0 };
	word = strtok_r(NULL, " \t", &save);
	if (who < 0 || !word)
		return false;
	for (type = 0; type < ACT_COUNT; type++)
		if (!strcmp(types[type].name, word))
			break;
	if (type == ACT_COUNT)
		return false;
	act->who = (uint8_t)who;
	act->type = (uint8_t)type;
	for (const char *c = types[type].arguments; *c; c++) {
		word = strtok_r(NULL, " \t", &save);
		if (!word || !take_argument(*c, word, act))
			return false;
	}
	return !strtok_r(NULL, " \t", &save);
}

static bool take_without(const char *word, uint32_t *without)
{
	for (uint32_t bit = 1; sys_feature_name(bit); bit <<= 1) {
		if (strcmp(sys_feature_name(bit), word))
			continue;
		*without |= bit;
		return true;
	}
	return false;
}

int script_parse(const char *text, struct script *script)
{
	int number = 0;

	*script = (struct script){ 0 };
	while (*text) {
		size_t length = strcspn(text, "\n");
		char line[128];
		char *start = line;

		number++;
		if (length >= sizeof(line) || script->count == ACTS_MAX)
			return number;
		memcpy(line, text, length);
		line[length] = '\0';
		line[strcspn(line, "#")] = '\0';
		text += length + (text[length] == '\n');
		start += strspn(start, " \t");
		if (!*start)
			continue;
		if (!strncmp(start, "without ", 8)) {
			if (!take_without(start + 8, &script->without))
				return number;
		} else if (!take_act(start, &script->acts[script->count++])) {
			return number;
		}
	}
	return 0;
}
