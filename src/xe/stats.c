/* SPDX-License-Identifier: MIT */
/*
 * DOC: gtN/stats, and reports
 *
 * The counters of the device as lines of text. Clients look for a name anywhere in a
 * line, so a name that ends another one has to come first: the order is the one of
 * vm_stat_names.
 *
 * A report has all counters, those of the process too, and what else who started the
 * program may want to know of it.
 */
#include "xe/xe_internal.h"

#include "base/text.h"
#include "usvm/usvm.h"

#define COUNTERS_MAX 128

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
	for (size_t i = 0; i < XE_RECLAIM_COUNT; i++) {
		text_string(&text, xe_reclaim_names[i]);
		text_string(&text, ": ");
		text_number(&text, ATOMIC_LOAD_RELAXED(&card->reclaimed[i]));
		text_string(&text, "\n");
	}
	return text.length_bytes;
}

static void line(struct text *text, const char *name, uint64_t value)
{
	text_string(text, name);
	text_string(text, " ");
	text_number(text, value);
	text_string(text, "\n");
}

static void stayed_line(struct text *text, const struct vm_stayed *stayed)
{
	text_string(text, "stayed ");
	text_number(text, stayed->span.start);
	text_string(text, " ");
	text_number(text, stayed->span.end);
	text_string(text, " ");
	text_number(text, stayed->faults);
	text_string(text, " ");
	text_string(text, vm_stay_names[stayed->why]);
	text_string(text, "\n");
}

/* A page is home before it is counted: what the program saw is told. */
static int settle_counts(void *argument)
{
	struct lock *lock = mm_event_lock(*(struct mm **)argument);

	lock_acquire(lock);
	lock_release(lock);
	return 0;
}

size_t xe_report_text(struct xe_card *card, bool interrupted, char *buffer, size_t bytes)
{
	struct usvm_stat counters[COUNTERS_MAX];
	struct mm *mm = card->device->mm;
	struct vm_stayed stayed[VM_STAYED_MAX];
	size_t count = 0, written;
	struct text text;

	text_init(&text, buffer, bytes);
	line(&text, "card", card->index);
	if (!interrupted)
		mm_call(mm, settle_counts, &mm, sizeof(mm));
	line(&text, "jobs", ATOMIC_LOAD(&card->job_count));
	if (usvm_stats(card->usvm, counters, COUNTERS_MAX, &count))
		return text.length_bytes;
	for (size_t i = 0; i < MIN(count, (size_t)COUNTERS_MAX); i++)
		line(&text, counters[i].name, counters[i].value);
	written = vm_device_stayed(card->device, stayed, VM_STAYED_MAX, &count);
	for (size_t i = 0; i < written; i++)
		stayed_line(&text, &stayed[i]);
	if (count > written)
		line(&text, "stayed_more", count - written);
	return text.length_bytes;
}
