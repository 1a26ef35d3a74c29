/* SPDX-License-Identifier: MIT */
/*
 * base/text.h - short messages, built in the caller's buffer.
 *
 * For reports that must get out when nothing else works any more: no stdio, no
 * allocation, no locale. What does not fit is cut off; the buffer always ends
 * in a NUL.
 *
 *     char buffer[128];
 *     struct text text;
 *
 *     text_init(&text, buffer, sizeof(buffer));
 *     text_string(&text, "frame ");
 *     text_number(&text, frame);
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct text {
	char *buffer;
	size_t size_bytes;
	size_t length_bytes; /* without the NUL; < size_bytes */
};

/** text_init() - an empty message in @buffer; @size_bytes is not 0. Context: any. */
void text_init(struct text *text, char *buffer, size_t size_bytes);

/** text_string() - append @string; NULL is written as "?". Context: any. */
void text_string(struct text *text, const char *string);

/** text_number() - append @number in decimal. Context: any. */
void text_number(struct text *text, uint64_t number);

#endif
