/* SPDX-License-Identifier: MIT */
/*
 * pagemap/pagemap_internal.h - what the files of pagemap share.
 */
#ifndef PAGEMAP_PAGEMAP_INTERNAL_H
#define PAGEMAP_PAGEMAP_INTERNAL_H

#include "base/lock.h"
#include "pagemap/pagemap.h"

/* Copy mode: pages pass through staging. Each part is 2 MiB, 2 MiB aligned. */
enum pagemap_staging {
	PAGEMAP_STAGING_TAKE,      /* under take_lock; only MOVE fills it */
	PAGEMAP_STAGING_HOME,      /* under event_lock; 4 KiB pages */
	PAGEMAP_STAGING_HOME_HUGE, /* under event_lock; huge pages */
	PAGEMAP_STAGING_COUNT
};

struct pagemap {
	struct pagemap_config config;
	uint64_t frames;       /* move mode: arena address of device memory */
	uint64_t memory;       /* move mode: the same as a pointer, once pagemap_vram() was asked */
	bool frames_are_plain; /* not on a userfaultfd: nothing migrates */
	uint64_t staging;      /* copy mode: arena address; 0: none */
	uint64_t zeros;        /* move mode: a huge page of zeros in the making; 0: none */
	struct lock take_lock; /* staging for takes, zeros */
	bool staging_used;     /* atomic, written under take_lock: the last take left pages */
	struct list dead;      /* devmems to release; under event_lock */
	struct mm_work dead_work;
	uint64_t devmem_count; /* atomic */
	void *pattern;         /* with poison, copy mode: a page of it */
};

static inline uint64_t pagemap_staging(const struct pagemap *pagemap,
				       enum pagemap_staging part)
{
	return pagemap->staging + part * HUGE_BYTES;
}

/* pagemap.c */
/* Fill frames or staging that were left. */
void pagemap_poison(struct pagemap *pagemap, uint64_t addr, uint64_t bytes);
/* What was poisoned may be dirty: make it empty. */
void pagemap_unpoison(struct pagemap *pagemap, uint64_t vram_offset, uint64_t bytes);

/* zdd.c */
extern const struct mm_entry_ops pagemap_zdd_ops;
struct pagemap_devmem *pagemap_owner_devmem(struct mm_entry_owner *owner);
void pagemap_release_dead(struct mm_work *work);

/* peer.c */
/* Pages of @span that peers have come to @devmem. Return: how many did. */
uint64_t pagemap_fetch_peers(struct pagemap_devmem *devmem,
			     const struct pagemap_migration *migration);
bool pagemap_owner_is_peer(const struct mm_entry_owner *owner,
			   const struct mm_entry_owner *other);
int pagemap_fetch(struct mm_entry_owner *owner, uint64_t frame, const struct mm_entry *entry,
		  uint64_t *done);

/* migrate.c */
/* ops->copy() between device memory and memory of the library. */
int pagemap_device_copy(struct pagemap *pagemap, uint64_t vram_offset, uint64_t memory,
			uint64_t bytes, bool to_device);
/* mm_entry_ops */
int pagemap_bring_home(struct mm_entry_owner *owner, struct span span, uint64_t frame,
		       uint64_t *done);
int pagemap_read(struct mm_entry_owner *owner, uint64_t frame, bool moving, void *buffer,
		 uint64_t bytes);

#endif
