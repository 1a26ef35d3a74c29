/* SPDX-License-Identifier: MIT */
/*
 * xe/xe.h - a virtual Xe card: what the layer above sees of it.
 *
 * A card is opened once in a process; a file is one open() of its node and owns what a
 * client makes through it: address spaces, queues, sync objects. An ioctl is called by
 * the client's thread, with the client's pointer, as the kernel would be.
 *
 *     shim                 xe                              vm, gpu
 *     ioctl(fd, ...)  ---> xe_ioctl(file, ...)
 *                          copies in, checks,
 *                          mm_call() ---- worker --------> vm_create(), binds, ...
 *                          or gpu_queue_submit() --------> engine
 *                          copies out
 *
 * In a child of fork all of this is wiped: xe_is_forked() tells; the child opens again.
 */
#ifndef XE_XE_H
#define XE_XE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct xe_card;
struct xe_file;

struct xe_card_config {
	const char *profile;  /* "bmg" or "cri"; NULL: the first */
	uint64_t vram_bytes;  /* a multiple of 2 MiB; 0: 256 MiB */
	const char *pool;     /* a file: processes that name the same share those bytes; or NULL */
	uint32_t index;       /* N of /dev/dri/cardN */
	bool place_on_device; /* what can be in its memory is to be there */
	const char *migrate;  /* as usvm_open()'s migrate=; NULL: as that by itself does */
	bool poison;          /* what left its memory leaves a pattern */
	/* The card that a descriptor of this process is a file of; NULL: of none. Cards live as
	 * long as the process. */
	struct xe_card *(*card_of)(int fd);
	/* A line for the log: what was refused and why. NULL: none wanted. */
	void (*log)(const char *text);
};

/**
 * xe_card_open() - the card, and the library's threads behind it
 * Context: a program's thread, one at a time; may sleep. Return: 0; -EINVAL no such
 * profile; what usvm_open() returns.
 */
MUST_CHECK int xe_card_open(const struct xe_card_config *config, struct xe_card **card);

/** xe_card_close() - every file is closed; NULL is accepted. Context: as open. */
void xe_card_close(struct xe_card *card);

/** xe_is_forked() - this is a child of the process that opened a card: what it opened is no
 * more. Context: any. */
bool xe_is_forked(void);

/** xe_process_forget() - after xe_is_forked() said so: this process has opened nothing yet */
void xe_process_forget(void);

/** xe_file_open() - Context: a program's thread. Return: 0, -ENOMEM. */
MUST_CHECK int xe_file_open(struct xe_card *card, struct xe_file **file);

/** xe_file_close() - ends its jobs, destroys what it owns. Context: a program's thread;
 * may sleep; no call on @file is at work. */
void xe_file_close(struct xe_file *file);

/**
 * xe_ioctl() - one ioctl of a client
 * @request: as ioctl(2)'s; matched by number, extended with zeros by size
 * @argument: the client's pointer; may be wrong
 * Context: a program's thread that holds no lock; may sleep.
 * Return: 0 or -errno.
 */
MUST_CHECK int xe_ioctl(struct xe_file *file, uint64_t request, uint64_t argument);

/**
 * xe_map() - mmap() of a file: show an object to the process
 * @at: where; 0: anywhere
 * @offset: what GEM_MMAP_OFFSET told, or behind it
 * Context: as xe_ioctl(). Return: 0; -EINVAL no such object, or not so much of it; -ENOMEM.
 */
MUST_CHECK int xe_map(struct xe_file *file, uint64_t at, uint64_t bytes, bool writes,
		      uint64_t offset, uint64_t *addr);

/** xe_before_unmap() - the process is about to unmap or replace what is mapped there: wait for
 * jobs that use it and cannot fault. Context: a program's thread; may sleep. */
void xe_before_unmap(struct xe_card *card, uint64_t start, uint64_t end);

/** xe_is_barrier() - the offset is of the page whose writes order others: any page will do */
bool xe_is_barrier(uint64_t offset);

/**
 * xe_fdinfo_text() - what the driver adds to /proc/PID/fdinfo/N of a file: lines "drm-KEY:\tVALUE"
 * Context: as xe_ioctl(). Return: bytes written, at most @bytes.
 */
size_t xe_fdinfo_text(struct xe_file *file, char *text, size_t bytes);

/** xe_stats_text() - gtN/stats: lines "name: value". Context: any.
 * Return: bytes written, at most @bytes. */
size_t xe_stats_text(struct xe_card *card, char *text, size_t bytes);

/**
 * xe_report_text() - what this process did with the card, for who started it
 *
 * Lines: "card N", "jobs N", "NAME VALUE" for each counter of usvm_stats(), and "stayed
 * START END FAULTS WHY" for each mapping that could not go to the device; "stayed_more N" for
 * those that are not listed.
 * @interrupted: the thread stands in a call of this interface, which a signal handler has
 * interrupted. It may hold what other threads wait for, and waits for none: a page that is on
 * its way home may not be counted yet.
 * Context: a program's thread, at its end. Return: bytes written, at most @bytes.
 */
size_t xe_report_text(struct xe_card *card, bool interrupted, char *text, size_t bytes);

#endif
