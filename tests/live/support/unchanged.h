/* SPDX-License-Identifier: MIT */
/*
 * tests/live/support/unchanged.h - a call that is refused changes nothing.
 *
 * A scene is a device with pages on it. It is looked at before the first call and after
 * each: every counter, the device's figures, the queue's status, the fault list, and the
 * places of the area by the page query and by /proc/self/pagemap.
 */
#ifndef TESTS_LIVE_SUPPORT_UNCHANGED_H
#define TESTS_LIVE_SUPPORT_UNCHANGED_H

#include "live/support/live.h"

#define STATS_MAX 128

/* Everything that can be seen of a device. */
struct sight {
	struct usvm_device_info info;
	struct usvm_queue_status status;
	struct usvm_stat stats[STATS_MAX];
	size_t stat_count, fault_count;
	uint64_t pages[4];
	size_t present;
};

/* A device with pages on it, and how it looked when the test began. */
struct scene {
	struct live *live;
	unsigned char *at;
	size_t bytes;
	struct sight before;
};

/** set_scene() - an area of live_bytes() goes to the device */
struct scene set_scene(struct live *live);

/** look_again() - what changed until now was meant to */
void look_again(struct scene *scene);

/** clear_scene() - nothing was in the way: the area is still on the device, and a job runs */
void clear_scene(struct scene *scene);

void assert_refused(const struct scene *scene, const char *what, int err, int expected);

/* The call fails with the errno, and nothing changes. */
#define REFUSED(scene, expected, call) assert_refused(scene, #call, call, expected)

/* What out parameters hold before a call that must not write them. */
#define UNTOUCHED(type) ((type *)(uintptr_t)0x5a5a5a5a5a5a5a5a)
#define UNTOUCHED_SIZE ((size_t)0x5a5a5a5a)

#endif
