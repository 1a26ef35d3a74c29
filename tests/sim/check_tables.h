/* SPDX-License-Identifier: MIT */
/*
 * check_tables.h - what must hold of the library's structures while their locks are free.
 *
 * A defect ends the run: by the library's own assertion, or by sim_fail().
 */
#ifndef TESTS_SIM_CHECK_TABLES_H
#define TESTS_SIM_CHECK_TABLES_H

#include <stdbool.h>

#include "run.h"

struct lock;
struct mm;
struct page_table;
struct vm;

bool tables_are_free(const struct lock *lock);

struct lock *tables_mm_lock(struct usvm *usvm);
struct lock *tables_vram_lock(struct usvm *usvm);
struct lock *tables_queue_lock(struct usvm *usvm);
struct lock *tables_pt_lock(struct usvm_vm *vm);
struct lock *tables_vm_lock(struct usvm_vm *vm);

/** tables_check_mm() - trees; entries, their owners, and that each frame has one page */
void tables_check_mm(struct world *world, struct usvm *usvm);
/** tables_check_vram() - blocks, objects and the LRU; no block is handed out twice */
void tables_check_vram(struct world *world, struct usvm *usvm);
/** tables_check_queues() - who is ready has a job, and none of it runs */
void tables_check_queues(struct world *world, struct usvm *usvm);
/** tables_check_idle() - all jobs are done: no engine has one, or a fault */
void tables_check_idle(struct world *world, struct usvm *usvm);
/** tables_check_vm() - ranges; the page table maps what they say, and device memory
 * only where mm has the page. @sweep: and nothing where there is no range. */
void tables_check_vm(struct world *world, struct usvm_vm *vm, bool sweep);

/* check_places.c: the same for what mm, vram and a vm say of places. */
void places_check_mm(struct world *world, struct mm *mm);
void places_check_vram(struct world *world, struct usvm *usvm);
void places_check_binds(struct world *world, struct vm *vm, const struct page_table *pt,
			bool sweep);
/** places_watch_sections() - from now on; NULL: no more */
void places_watch_sections(struct sim *sim);

#endif
