/* SPDX-License-Identifier: MIT */
/*
 * DOC: text
 *
 * The invariant of a message: length_bytes < size_bytes, and
 * buffer[length_bytes] is the NUL. Each append keeps it, so a message can be
 * used after any of them.
 */
#include "base/text.h"

void text_init(struct text *text, char *buffer, size_t size_bytes)
{
	text->buffer = buffer;
	text->size_bytes = size_bytes;
	text->length_bytes = 0;
	buffer[0] = '\0';
}

void text_string(struct text *text, const char *string)
{
	if (!string)
		string = "?";
	while (*string && text->length_bytes + 1 < text->size_bytes)
		text->buffer[text->length_bytes++] = *string++;
	text->buffer[text->length_bytes] = '\0';
}

void text_number(struct text *text, uint64_t number)
{
	char digits[21]; /* 2^64 has 20 */
	char *first = &digits[sizeof(digits) - 1];

	*first = '\0';
	do {
		*--first = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	text_string(text, first);
}
