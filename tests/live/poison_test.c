/* SPDX-License-Identifier: MIT */
/*
 * poison=yes: what pages leave in device memory is a pattern, and nobody who has memory sees
 * it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "api/device.h"
#include "mm/call.h"
#include "pagemap/pagemap.h"
#include "usvm/usvm.h"
#include "vm/vm.h"

#define VRAM_BYTES MIB(8)
#define BYTES MIB(4)

struct world {
	struct usvm *usvm;
	struct usvm_vm *vm;
};

static bool open_world(struct world *w, const char *spec)
{
	struct usvm_device_info info;

	assert_int_equal(usvm_open(spec, &w->usvm), 0);
	assert_int_equal(usvm_device_info(w->usvm, &info), 0);
	if (!info.migrates) {
		print_message("SKIP: %s\n", info.why_not);
		assert_int_equal(usvm_close(w->usvm), 0);
		return false;
	}
	assert_int_equal(usvm_vm_create(w->usvm, NULL, &w->vm), 0);
	return true;
}

static void close_world(struct world *w)
{
	assert_int_equal(usvm_vm_destroy(w->vm), 0);
	assert_int_equal(usvm_close(w->usvm), 0);
}

static unsigned char *map(void)
{
	unsigned char *at = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	return at;
}

static void prefetch(struct world *w, void *at, enum usvm_place place)
{
	assert_int_equal(usvm_prefetch(w->vm, at, BYTES, place), 0);
}

struct look {
	struct vm_device *device;
	struct lock *event_lock;
	uint64_t poisoned_bytes;
};

static int count_poisoned(struct look *l)
{
	const unsigned char *vram = pagemap_vram(l->device->pagemap);
	unsigned char page[PAGE_BYTES];

	for (uint64_t at = 0; at < VRAM_BYTES; at += PAGE_BYTES) {
		const unsigned char *from = vram ? vram + at : page;

		if (!vram && l->device->config.ops->copy(l->device->config.device, at, page,
							 PAGE_BYTES, false))
			return -1;
		for (size_t i = 0; i < PAGE_BYTES; i++)
			l->poisoned_bytes += from[i] == PAGEMAP_POISON;
	}
	return 0;
}

/*
 * [worker] Under event_lock: what the pages go for later is read behind it. The kernel orders
 * the two as well, from munmap() to its message, but TSan knows nothing of that.
 */
static int look(void *argument)
{
	struct look *l = argument;
	int err;

	pagemap_flush(l->device->pagemap);
	lock_acquire(l->event_lock);
	err = count_poisoned(l);
	lock_release(l->event_lock);
	return err;
}

static uint64_t poisoned_bytes(struct world *w)
{
	struct look l = { .device = api_device_vm(w->usvm),
			  .event_lock = mm_event_lock(api_device_mm(w->usvm)) };

	assert_int_equal(mm_call(api_device_mm(w->usvm), look, &l, sizeof(l)), 0);
	return l.poisoned_bytes;
}

static void expect_bytes(const unsigned char *at, unsigned char value)
{
	for (size_t i = 0; i < BYTES; i++) {
		if (at[i] != value)
			fail_msg("byte %zu is %#x, not %#x", i, at[i], value);
	}
}

/* Its pages come home, or die on the device. */
static void what_is_left_behind(const char *spec, bool is_poisoned, bool comes_home)
{
	struct world w;
	unsigned char *at;

	if (!open_world(&w, spec))
		skip();
	at = map();
	memset(at, 0x11, BYTES);
	prefetch(&w, at, USVM_PLACE_DEVICE);
	assert_int_equal(poisoned_bytes(&w), 0);
	if (comes_home)
		prefetch(&w, at, USVM_PLACE_SYSTEM);
	else
		assert_int_equal(munmap(at, BYTES), 0);
	/* munmap() returns when the message was read, the collector comes later. */
	assert_int_equal(usvm_vm_destroy(w.vm), 0);
	assert_int_equal(usvm_vm_create(w.usvm, NULL, &w.vm), 0);
	if (is_poisoned)
		assert_true(poisoned_bytes(&w) >= BYTES);
	else
		assert_int_equal(poisoned_bytes(&w), 0);
	if (comes_home) {
		expect_bytes(at, 0x11);
		assert_int_equal(munmap(at, BYTES), 0);
	}
	/* Holes that are taken there are zeros, and contents are contents. */
	for (int i = 0; i < 3; i++) {
		at = map();
		if (i == 1)
			memset(at, 0x22, BYTES);
		prefetch(&w, at, USVM_PLACE_DEVICE);
		expect_bytes(at, i == 1 ? 0x22 : 0);
		assert_int_equal(munmap(at, BYTES), 0);
	}
	close_world(&w);
}

static void pages_that_came_home_left_a_pattern(void **state)
{
	(void)state;
	what_is_left_behind("model:vram=8M,poison=yes", true, true);
}

static void pages_that_died_left_a_pattern(void **state)
{
	(void)state;
	what_is_left_behind("model:vram=8M,poison=yes", true, false);
}

static void copied_pages_left_a_pattern(void **state)
{
	(void)state;
	what_is_left_behind("model:vram=8M,mode=copy,poison=yes", true, true);
	what_is_left_behind("model:vram=8M,mode=copy,poison=yes", true, false);
}

static void without_it_there_is_none(void **state)
{
	(void)state;
	what_is_left_behind("model:vram=8M", false, true);
	what_is_left_behind("model:vram=8M,mode=copy", false, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_that_came_home_left_a_pattern),
		cmocka_unit_test(pages_that_died_left_a_pattern),
		cmocka_unit_test(copied_pages_left_a_pattern),
		cmocka_unit_test(without_it_there_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
