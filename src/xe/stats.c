/* SPDX-License-Identifier: MIT */
/*
 * DOC: gtN/stats
 *
 * The counters of the device as lines of text. Clients look for a name anywhere in a
 * line, so a name that ends another one has to come first: the order is the one of
 * vm_stat_names.
 */
#include "xe/xe_internal.h"

#include "base/text.h"

size_t xe_stats_text(struct xe_card *card, char *buffer, size_t bytes)
{
	struct text text;

	text_init(&text, buffer, bytes);
	for (size_t i = 0; i < VM_STAT_COUNT; i++) {
		text_string(&text, vm_stat_names[i]);
		text_string(&text, ": ");
		text_number(&text, ATOMIC_LOAD_RELAXED(&card->device->stats.value[i]));
		text_string(&text, "\n");
	}
	return text.length_bytes;
}
