/* SPDX-License-Identifier: MIT */
/*
 * pagemap/pagemap.h - device memory that pages of the process migrate to.
 *
 * A pagemap belongs to one device. A *devmem* is one allocation in it, filled by
 * one or more migrations; its *zdd* is what every migrated page refers to (the
 * twin of zone_device_data): it counts references and lives as long as a page
 * does. Migration is a property of pagemap and mm, not of a GPU's address space.
 *
 * In move mode device memory is an arena of the process, and pages are moved
 * into it and back without a copy. In copy mode it is the device's own: pages
 * are moved to staging, and the device copies.
 *
 * Upstream: drivers/gpu/drm/drm_pagemap.c.
 */
#ifndef PAGEMAP_PAGEMAP_H
#define PAGEMAP_PAGEMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/list.h"
#include "base/span.h"
#include "mm/mm.h"

struct pagemap;
struct pagemap_devmem;

/* Each byte of what was left, with pagemap_config.poison. */
#define PAGEMAP_POISON 0xdb

struct pagemap_devmem_ops {
	/** copy() - [monitor or worker] (copy mode) between device memory and @memory of
	 * the library; synchronous. Return: 0 or -EIO. */
	int (*copy)(void *owner, uint64_t vram_offset, void *memory, uint64_t bytes,
		    bool to_device);

	/** write() - [worker] (copy mode with poison) the same to the device, where nothing
	 * migrates: it is not counted. Nobody else uses this part of device memory. */
	int (*write)(void *owner, uint64_t vram_offset, void *memory, uint64_t bytes);

	/** copies_to() - [any] (copy mode) can the device of @owner copy to that of @peer, by
	 * copy_peer()? NULL: none can. */
	bool (*copies_to)(void *owner, void *peer);

	/** copy_peer() - [worker, event_lock held] (copy mode) between the memories of two
	 * devices; synchronous. Return: 0 or -EIO. */
	int (*copy_peer)(void *owner, uint64_t vram_offset, void *peer, uint64_t peer_offset,
			 uint64_t bytes);

	/** release() - [worker] the last reference to @devmem is gone, no page is in it:
	 * free the device memory and the devmem. Frames may be dirty. */
	void (*release)(struct pagemap_devmem *devmem);
};

struct pagemap_config {
	struct mm *mm;
	const void *device; /* which device it is; compared only */
	const char *name;   /* of the device; lives as long as the pagemap */
	uint64_t vram_bytes;
	uint64_t home_bytes; /* what a CPU fault brings home: 4K, 64K or 2M */
	bool copy;          /* copy mode */
	const char *peers;  /* group; NULL: no peers. Lives as long as the pagemap */
	bool reaches_peers; /* the device uses frames of a peer in place */
	bool poison;        /* device memory and staging that were left hold a pattern */
	const struct pagemap_devmem_ops *ops;
	void *owner;        /* of ops->copy */
};

/* What every page of one allocation refers to. */
struct pagemap_zdd {
	struct mm_entry_owner owner; /* the pages, under event_lock */
	uint32_t reference_count;    /* holders but the pages; under event_lock */
	bool dead;                   /* release() is decided; under event_lock */
};

/* One allocation. Embedded by the layer above; zeroed, then pagemap_devmem_init(). */
struct pagemap_devmem {
	struct pagemap_zdd zdd;
	struct pagemap *pagemap;
	uint64_t vram_offset;  /* of page 0 */
	uint64_t bytes;
	uint64_t addr;         /* the address whose page goes to page 0 */
	uint64_t staging;      /* copy mode: where page 0 would be while pages are MOVING */
	struct list dead_link;
};

/* What a migration did. */
struct pagemap_migration {
	struct span span;      /* in: to migrate, inside of the devmem's addresses */
	struct span fill;      /* in: holes in here become zeros on the device */
	bool fill_empty;       /* in: and all of them if @span is one hole */
	const struct mm_look *look; /* in: at @span; may be NULL */
	bool peers;            /* in: peers have some of it, which is to come too */
	bool wanted;           /* in: for an access, and not ahead of it */
	uint64_t stay_ns;      /* in: what is in the devmem stays so long; 0: as it was */
	uint64_t moved_pages;  /* out: taken with contents */
	uint64_t filled_pages; /* out */
	uint64_t busy_pages;   /* out: pinned or shared, left at home */
	uint64_t peer_pages;   /* out: were on another device */
	bool huge;             /* out: the kernel makes huge pages there */
	uint64_t copy_ns;      /* out: copy mode: time in ops->copy */
};

/**
 * pagemap_create() - device memory of a device
 * Context: [worker]. Return: 0, -ENOMEM. Where the mm cannot migrate, a pagemap in move
 * mode has plain memory for its frames, and every migration fails with -EOPNOTSUPP.
 */
MUST_CHECK int pagemap_create(const struct pagemap_config *config, struct pagemap **pagemap);

/** pagemap_destroy() - no devmem is left (asserted). NULL is accepted. [worker] */
void pagemap_destroy(struct pagemap *pagemap);

/** pagemap_reuse() - release what is dead: the caller is about to take memory.
 * Context: [worker]. */
void pagemap_reuse(struct pagemap *pagemap);

/** pagemap_flush() - wait until devmems without pages and references were released.
 * Context: [worker]. */
void pagemap_flush(struct pagemap *pagemap);

/** pagemap_vram() - where device memory starts in the process; NULL in copy mode. Asked for
 * before any page is in it. */
void *pagemap_vram(struct pagemap *pagemap);

/** pagemap_devmem_init() - one reference, the caller's. Context: [worker]. */
void pagemap_devmem_init(struct pagemap_devmem *devmem, struct pagemap *pagemap,
			 uint64_t vram_offset, uint64_t bytes, uint64_t addr);

/** pagemap_devmem_get() - another reference. Return: false if it is being released. */
bool pagemap_devmem_get(struct pagemap_devmem *devmem);

/** pagemap_devmem_put() - drop one; the last, with no page left, releases. [worker] */
void pagemap_devmem_put(struct pagemap_devmem *devmem);

/**
 * pagemap_find() - the devmem of @pagemap in whose place for @addr the page of @addr belongs
 *
 * Looks at the device pages of @span: a devmem that has some of them at their natural
 * place can take the others too. @devmem: out, with a reference. @peers: out, in every case:
 * peers have some of them.
 * Context: [worker]. Return: 0, -ENOENT.
 */
MUST_CHECK int pagemap_find(struct pagemap *pagemap, struct span span,
			    struct pagemap_devmem **devmem, bool *peers);

/**
 * pagemap_populate_mm() - migrate pages of the process to a devmem
 *
 * Best effort: what cannot move stays where it is, at home or on a peer; see the counts. What
 * other devices have that are no peers is left alone.
 * Context: [worker], may sleep; the caller holds a reference to @devmem.
 * Return: 0, -ENOENT no VMA, -EOPNOTSUPP memory that does not migrate, -EBUSY, -ENOMEM,
 * -EIO the device could not copy (the pages are home again).
 * Upstream: drm_pagemap_populate_mm(), drm_pagemap_migrate_to_devmem().
 */
MUST_CHECK int pagemap_populate_mm(struct pagemap_devmem *devmem,
				   struct pagemap_migration *migration);

/** pagemap_tidy() - give back what the last pagemap_populate_mm() needed on its way: who asked
 * for it need not wait for that. The next one does it first, where it was not done.
 * Context: [worker]. */
void pagemap_tidy(struct pagemap *pagemap);

/**
 * pagemap_evict_to_ram() - bring all pages of @devmem home, found physically
 * Context: [worker], may sleep; the caller holds a reference. Return: 0, -EBUSY.
 * Upstream: drm_pagemap_evict_to_ram().
 */
MUST_CHECK int pagemap_evict_to_ram(struct pagemap_devmem *devmem);

/** pagemap_clean() - device memory was left: make its frames empty, or poison it; what was
 * poisoned is emptied by pagemap_devmem_init(). Context: [worker]. */
void pagemap_clean(struct pagemap *pagemap, uint64_t vram_offset, uint64_t bytes);

/** pagemap_entry_devmem() - the devmem of an entry if it belongs to @pagemap, else NULL.
 * event_lock is held. */
struct pagemap_devmem *pagemap_entry_devmem(const struct pagemap *pagemap,
					    const struct mm_entry *entry);

/** pagemap_entry_holder() - the devmem of an entry, whosever; NULL: not a pagemap's entry.
 * event_lock is held, and so long as it is the devmem, its pagemap and its name live. */
struct pagemap_devmem *pagemap_entry_holder(const struct mm_entry *entry);

/** pagemap_is_peer() - do pages of @other's come to @pagemap directly? The answer is the same
 * the other way round. Context: any. */
bool pagemap_is_peer(const struct pagemap *pagemap, const struct pagemap *other);

/** pagemap_reaches() - can the device of @pagemap use frames of @other in place? */
bool pagemap_reaches(const struct pagemap *pagemap, const struct pagemap *other);

/** pagemap_entry_is_peer() - the same of who has @entry. event_lock is held. */
bool pagemap_entry_is_peer(const struct pagemap *pagemap, const struct mm_entry *entry);

/** pagemap_entry_reach() - can the device use @entry's page in place, on a peer? Then *@addr:
 * where engines find its frames. event_lock is held. */
bool pagemap_entry_reach(const struct pagemap *pagemap, const struct mm_entry *entry,
			 uint64_t *addr);

/** pagemap_name() - of its device */
const char *pagemap_name(const struct pagemap *pagemap);

#endif
