/* SPDX-License-Identifier: MIT */
/*
 * DOC: names of kernel features
 *
 * USVM_FEATURES takes features away and never adds one: every entry starts
 * with a minus, so that a list cannot be misread as "only these".
 */
#include "sys/features.h"

#include <errno.h>
#include <string.h>

#include "sys/sys.h"

static const struct {
	const char *name;
	uint32_t bit;
	uint32_t masks; /* what goes with it */
} features[] = {
	{ "uffd", SYS_FEATURE_UFFD,
	  SYS_FEATURE_UFFD | SYS_FEATURE_KERNEL_FAULTS |
		  SYS_FEATURE_EVENT_FORK | SYS_FEATURE_MOVE |
		  SYS_FEATURE_WP_ASYNC | SYS_FEATURE_POISON |
		  SYS_FEATURE_THREAD_ID },
	{ "kernel_faults", SYS_FEATURE_KERNEL_FAULTS,
	  SYS_FEATURE_KERNEL_FAULTS },
	{ "event_fork", SYS_FEATURE_EVENT_FORK, SYS_FEATURE_EVENT_FORK },
	{ "move", SYS_FEATURE_MOVE, SYS_FEATURE_MOVE },
	{ "wp_async", SYS_FEATURE_WP_ASYNC, SYS_FEATURE_WP_ASYNC },
	{ "procmap_query", SYS_FEATURE_PROCMAP_QUERY,
	  SYS_FEATURE_PROCMAP_QUERY },
	{ "pagemap_scan", SYS_FEATURE_PAGEMAP_SCAN, SYS_FEATURE_PAGEMAP_SCAN },
	{ "guard", SYS_FEATURE_GUARD, SYS_FEATURE_GUARD },
	{ "poison", SYS_FEATURE_POISON, SYS_FEATURE_POISON },
	{ "membarrier", SYS_FEATURE_MEMBARRIER, SYS_FEATURE_MEMBARRIER },
	{ "thread_id", SYS_FEATURE_THREAD_ID, SYS_FEATURE_THREAD_ID },
};

const char *sys_feature_name(uint32_t bit)
{
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		if (features[i].bit == bit)
			return features[i].name;
	}
	return NULL;
}

/* What the entry of @length bytes at @text masks; 0: no such name. */
static uint32_t parse_entry(const char *text, size_t length)
{
	if (length < 2 || text[0] != '-')
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		const char *name = features[i].name;

		if (strlen(name) == length - 1 &&
		    memcmp(name, text + 1, length - 1) == 0)
			return features[i].masks;
	}
	return 0;
}

int sys_features_parse(const char *text, uint32_t *masked)
{
	uint32_t sum = 0;

	while (text && *text) {
		size_t length = strcspn(text, ",");
		uint32_t bits = parse_entry(text, length);

		if (!bits)
			return -EINVAL;
		sum |= bits;
		text += length;
		if (*text == ',' && *++text == '\0')
			return -EINVAL;
	}
	*masked = sum;
	return 0;
}
