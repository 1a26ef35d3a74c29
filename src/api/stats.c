/* SPDX-License-Identifier: MIT */
/*
 * DOC: Counters and traces
 *
 * The device's counters (vm/stats.h), then what vram and mm count. The latter are
 * of the process: every device of it shows the same.
 */
#include "api/api_internal.h"

#include <errno.h>
#include <string.h>

#include "base/atomic.h"

struct mm_stat_name {
	const char *name;
	size_t offset;
};

#define MM_STAT(field) { "mm_" #field, offsetof(struct mm_stats, field) }

static const struct mm_stat_name mm_names[] = {
	MM_STAT(cpu_faults),
	MM_STAT(cpu_faults_user),   MM_STAT(cpu_faults_kernel),
	MM_STAT(hole_faults),	    MM_STAT(huge_holes),
	MM_STAT(idle_registrations),
	MM_STAT(events_unmap),	    MM_STAT(events_remove),
	MM_STAT(events_remap),	    MM_STAT(events_fork),
	MM_STAT(home_moved_pages),  MM_STAT(home_copied_pages),
	MM_STAT(lost_pages),
	MM_STAT(taken_pages),	    MM_STAT(filled_pages),
	MM_STAT(busy_pages),	    MM_STAT(retries),
	MM_STAT(peer_moved_pages),  MM_STAT(peer_copied_pages),
	MM_STAT(stashed),	    MM_STAT(held_faults),
	MM_STAT(kicks),		    MM_STAT(quarantined),
	MM_STAT(forks_pushed_pages),
	MM_STAT(marked_pages),	    MM_STAT(died_pages),
	MM_STAT(lies),		    MM_STAT(refused),
};

#define VRAM_STATS 8
#define STAT_COUNT (VM_STAT_COUNT + VRAM_STATS + ARRAY_SIZE(mm_names) + 1)

static void collect(struct usvm *usvm, struct usvm_stat *stats)
{
	struct vram_stats vram;
	struct mm_stats mm;
	size_t n = 0;

	for (size_t i = 0; i < VM_STAT_COUNT; i++) {
		stats[n++] = (struct usvm_stat){
			vm_stat_names[i],
			ATOMIC_LOAD_RELAXED(&usvm->device->stats.value[i]),
		};
	}
	vm_device_vram(usvm->device, &vram);
	stats[n++] = (struct usvm_stat){ "vram_size_bytes", vram.size_bytes };
	stats[n++] = (struct usvm_stat){ "vram_allocated_bytes", vram.allocated_bytes };
	stats[n++] = (struct usvm_stat){ "vram_rounding_bytes", vram.rounding_bytes };
	stats[n++] = (struct usvm_stat){ "vram_free_bytes", vram.free_bytes };
	stats[n++] = (struct usvm_stat){ "vram_used_bytes", vram.used_bytes };
	stats[n++] = (struct usvm_stat){ "vram_used_bytes_max", vram.used_bytes_max };
	stats[n++] = (struct usvm_stat){ "vram_evictions", vram.evictions };
	stats[n++] = (struct usvm_stat){ "vram_evictions_failed", vram.evictions_failed };
	mm_stats_read(usvm->mm, &mm);
	for (size_t i = 0; i < ARRAY_SIZE(mm_names); i++) {
		uint64_t value;

		memcpy(&value, (const char *)&mm + mm_names[i].offset, sizeof(value));
		stats[n++] = (struct usvm_stat){ mm_names[i].name, value };
	}
	stats[n++] = (struct usvm_stat){ "mm_device_pages", mm_entry_pages(usvm->mm) };
}

int usvm_stats(struct usvm *usvm, struct usvm_stat *stats, size_t max, size_t *count)
{
	struct usvm_stat all[STAT_COUNT];
	int err = api_check(usvm, API_MAGIC_DEVICE);

	if (err)
		return err;
	if (!count || (!stats && max))
		return -EINVAL;
	collect(usvm, all);
	for (size_t i = 0; i < STAT_COUNT && i < max; i++)
		stats[i] = all[i];
	*count = STAT_COUNT;
	return 0;
}

int usvm_stats_reset(struct usvm *usvm)
{
	int err = api_check(usvm, API_MAGIC_DEVICE);

	if (err)
		return err;
	for (size_t i = 0; i < VM_STAT_COUNT; i++)
		ATOMIC_STORE_RELAXED(&usvm->device->stats.value[i], 0);
	return 0;
}

uint64_t usvm_stat(struct usvm *usvm, const char *name)
{
	struct usvm_stat all[STAT_COUNT];

	if (!name || api_check(usvm, API_MAGIC_DEVICE))
		return 0;
	collect(usvm, all);
	for (size_t i = 0; i < STAT_COUNT; i++) {
		if (!strcmp(all[i].name, name))
			return all[i].value;
	}
	return 0;
}

int usvm_trace_read(struct usvm *usvm, struct usvm_trace_event *events, size_t max,
		    size_t *count, uint64_t *dropped)
{
	int err = api_check(usvm, API_MAGIC_DEVICE);
	struct trace_event event;
	size_t n = 0;

	if (err)
		return err;
	if (!count || (!events && max))
		return -EINVAL;
	if (!usvm->trace)
		return -ENOENT;
	while (n < max && trace_ring_read(usvm->trace, &event, 1)) {
		events[n++] = (struct usvm_trace_event){
			.time_ns = event.time_ns,
			.duration_ns = event.duration_ns,
			.addr = event.addr,
			.bytes = event.bytes,
			.arg = event.arg,
			.name = trace_type_name(event.type),
			.thread = event.thread,
		};
	}
	*count = n;
	if (dropped)
		*dropped = trace_ring_dropped(usvm->trace);
	return 0;
}
