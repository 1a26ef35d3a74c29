/* SPDX-License-Identifier: MIT */
/*
 * tools/doctor.h - what doctor.c (what it means, and how it is told) needs of
 * probe.c (what the kernel answers).
 *
 * A probe tries the thing itself on memory of its own; it does not conclude from
 * a version number.
 */
#ifndef TOOLS_DOCTOR_H
#define TOOLS_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>

/** struct probe_uffd - ways to a userfaultfd: 0, or the -errno that was the answer */
struct probe_uffd {
	int by_call;       /* userfaultfd(2), kernel faults included */
	int by_device;     /* /dev/userfaultfd, the same */
	int by_user_call;  /* userfaultfd(2) for faults of user mode only */
	uint64_t features; /* what UFFDIO_API offers; 0 where there is no way */
	bool kernel_faults;
};

void probe_uffd(struct probe_uffd *uffd);

/* Each: 0 it works; else -errno. */
int probe_move(void);          /* a page, and a huge page, by UFFDIO_MOVE */
int probe_wp_async(void);      /* register in write-protect mode alone */
int probe_event_fork(void);    /* open with EVENT_FORK */
int probe_procmap_query(void); /* look up a mapping by ioctl */
int probe_pagemap_scan(void);  /* see that a page is present, by ioctl */
int probe_guard_pages(void);   /* install and remove a guard page */
int probe_membarrier(void);    /* register, and raise one barrier */

/* Return: 0 read; else -errno. */
int probe_read_number(const char *path, uint64_t *number);
int probe_read_line(const char *path, char *line, uint32_t size);

#endif
