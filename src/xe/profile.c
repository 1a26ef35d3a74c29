/* SPDX-License-Identifier: MIT */
/*
 * DOC: Kinds of cards
 *
 * bmg is a Battlemage: what a client of today finds. cri is of a later generation and has
 * queues in groups. The tables of page attributes are those of the generation; what counts
 * here is which indices exist and which bypass the CPU's caches.
 */
#include "xe/xe_internal.h"

static const struct xe_engine_instance engines[] = {
	{ .engine_class = XE_ENGINE_RENDER },
	{ .engine_class = XE_ENGINE_COPY },
	{ .engine_class = XE_ENGINE_COMPUTE },
};

#define BIT(n) (1u << (n))
#define PAT_RESERVED (BIT(16) | BIT(17) | BIT(18) | BIT(19))
/* Displayed once: also in tools/run_tree.c. */
#define PAT_TRANSIENT (BIT(6) | BIT(11))
#define PAT_INCOHERENT (BIT(0) | BIT(3) | BIT(8) | BIT(9) | BIT(10) | BIT(12) | BIT(13))

const struct xe_profile xe_profiles[] = {
	{
		.name = "bmg",
		.device_id = 0xe20b,
		.version_major = 20,
		.version_minor = 1,
		.pat_count = 32,
		.pat_reserved = PAT_RESERVED,
		.pat_incoherent = PAT_INCOHERENT,
		.pat_transient = PAT_TRANSIENT,
		.engines = engines,
		.engine_count = ARRAY_SIZE(engines),
	},
	{
		.name = "cri",
		.device_id = 0x674c,
		.version_major = 35,
		.version_minor = 11,
		.has_multi_queue = true,
		.pat_count = 32,
		.pat_reserved = PAT_RESERVED,
		.pat_incoherent = PAT_INCOHERENT,
		.pat_transient = PAT_TRANSIENT,
		.engines = engines,
		.engine_count = ARRAY_SIZE(engines),
	},
};

const uint32_t xe_profile_count = ARRAY_SIZE(xe_profiles);
