/* SPDX-License-Identifier: MIT */
/* vm_test.c - address spaces: their mirrors, and where pages are. */
#include "api_fixture.h"

#define BEHIND_ALL pointer((1ull << 47) - PAGE_BYTES)

struct access {
	uint64_t addr;
	bool write;
};

static void touch(struct usvm_lane *lane, const void *args)
{
	const struct access *a = args;

	if (a->write)
		usvm_store64(lane, a->addr, 1);
	else
		usvm_load64(lane, a->addr);
}

/* What an access of a queue of its own ends with. */
static int touch_by(struct usvm_vm *vm, uint64_t addr, bool write)
{
	const struct access a = { addr, write };
	const struct usvm_kernel kernel = { .function = touch,
					    .args = &a,
					    .args_bytes = sizeof(a) };
	struct usvm_queue *queue;
	int err;

	CHECK(!usvm_queue_create(vm, NULL, &queue));
	err = usvm_run_kernel(queue, &kernel);
	CHECK(!usvm_queue_destroy(queue));
	return err;
}

static void create_vms(void *arg)
{
	struct usvm *device;
	struct usvm_vm *vm;
	uint64_t addr = filled_pages(2);
	struct usvm_vm_config config = { .flags = USVM_VM_READ_ONLY };

	(void)arg;
	CHECK(!usvm_open(NULL, &device));
	CHECK(usvm_vm_create(device, NULL, NULL) == -EINVAL);
	CHECK(usvm_vm_create(device, &(struct usvm_vm_config){ .flags = 8 }, &vm) == -EINVAL);
	CHECK(usvm_vm_create(device, &(struct usvm_vm_config){ .reserved = 1 }, &vm) ==
	      -EINVAL);
	CHECK(!usvm_vm_create(device, &config, &vm));
	CHECK(!touch_by(vm, addr, false));
	CHECK(touch_by(vm, addr, true) == -EPERM);
	CHECK(!usvm_vm_destroy(vm));
	config.flags = 0;
	CHECK(!usvm_vm_create(device, &config, &vm));
	CHECK(!touch_by(vm, addr, true));
	CHECK(!usvm_vm_destroy(vm));
	CHECK(!usvm_close(device));
}

static void a_vm_may_be_for_reading_only(void **state)
{
	(void)state;
	run_seed(1, create_vms, NULL);
}

static void mirror_by_hand(void *arg)
{
	const struct usvm_vm_config config = { .flags = USVM_VM_NO_MIRROR };
	uint64_t addr = filled_pages(1024); /* has a whole block in it */
	uint64_t block = ALIGN_UP(addr, HUGE_BYTES);
	struct usvm *device;
	struct usvm_vm *vm;

	(void)arg;
	CHECK(!usvm_open(NULL, &device));
	CHECK(!usvm_vm_create(device, &config, &vm));
	CHECK(touch_by(vm, block, false) == -EFAULT); /* nothing is mirrored yet */
	CHECK(usvm_vm_mirror(vm, pointer(block), 0, 0) == -EINVAL);
	CHECK(usvm_vm_mirror(vm, pointer(block), HUGE_BYTES, USVM_VM_NO_MIRROR) ==
	      -EINVAL);
	CHECK(usvm_vm_mirror(vm, pointer(block), SIZE_MAX, 0) == -EINVAL);
	CHECK(usvm_vm_mirror(vm, pointer(block + 1), HUGE_BYTES, 0) == -EINVAL);
	CHECK(usvm_vm_unmirror(vm, pointer(block), 0) == -EINVAL);
	CHECK(usvm_vm_unmirror(vm, pointer(block), HUGE_BYTES) == -ENOENT);
	CHECK(!usvm_vm_mirror(vm, pointer(block), HUGE_BYTES, USVM_VM_READ_ONLY));
	CHECK(usvm_vm_mirror(vm, pointer(block), HUGE_BYTES, 0) == -EBUSY);
	CHECK(usvm_vm_unmirror(vm, pointer(block), PAGE_BYTES) == -ENOENT);
	CHECK(!usvm_vm_unmirror(vm, pointer(block), HUGE_BYTES));
	CHECK(!usvm_vm_mirror(vm, pointer(block), HUGE_BYTES, USVM_VM_READ_ONLY));
	CHECK(!touch_by(vm, block, false));
	CHECK(touch_by(vm, block, true) == -EPERM);
	CHECK(touch_by(vm, block - PAGE_BYTES, false) == -EFAULT);
	CHECK(usvm_vm_unmirror(vm, pointer(block), HUGE_BYTES) == -EBUSY);
	CHECK(!usvm_vm_destroy(vm));
	CHECK(!usvm_close(device));
}

static void a_vm_mirrors_what_it_was_told_to(void **state)
{
	(void)state;
	run_seed(1, mirror_by_hand, NULL);
}

static void move_pages(void *arg)
{
	struct opened o = open_all(NULL);
	uint64_t addr = filled_pages(4);
	const void *start = pointer(addr);
	uint64_t pages[4];

	(void)arg;
	CHECK(usvm_prefetch(o.vm, start, 0, USVM_PLACE_DEVICE) == -EINVAL);
	CHECK(usvm_prefetch(o.vm, start, SIZE_MAX, USVM_PLACE_DEVICE) == -EINVAL);
	CHECK(usvm_prefetch(o.vm, start, 1, (enum usvm_place)3) == -EINVAL);
	CHECK(usvm_prefetch(o.vm, BEHIND_ALL, 2 * PAGE_BYTES, USVM_PLACE_DEVICE) == -EINVAL);
	CHECK(usvm_prefetch(o.vm, pointer(SIM_START + MIB(512)), 1, USVM_PLACE_DEVICE) ==
	      -EFAULT);
	CHECK(usvm_query_span(o.vm, start, PAGE_BYTES, NULL) == -EINVAL);
	CHECK(usvm_query_span(o.vm, start, 0, pages) == -EINVAL);
	CHECK(usvm_query_span(o.vm, BEHIND_ALL, 2 * PAGE_BYTES, pages) == -EINVAL);
	/* Two bytes of two pages are two pages. */
	CHECK(!usvm_prefetch(o.vm, pointer(addr + 2 * PAGE_BYTES - 1), 2, USVM_PLACE_DEVICE));
	CHECK(!usvm_query_span(o.vm, start, 4 * PAGE_BYTES, pages));
	CHECK(pages[USVM_PAGE_DEVICE] == 2 && pages[USVM_PAGE_HOME] == 2);
	CHECK(!usvm_query_span(o.vm, pointer(addr + 1), 1, pages));
	CHECK(pages[USVM_PAGE_HOME] == 1 && !pages[USVM_PAGE_DEVICE]);
	CHECK(!usvm_prefetch(o.vm, start, 4 * PAGE_BYTES, USVM_PLACE_SYSTEM));
	CHECK(!usvm_query_span(o.vm, start, 4 * PAGE_BYTES, pages));
	CHECK(pages[USVM_PAGE_HOME] == 4 && !pages[USVM_PAGE_DEVICE]);
	close_all(&o);
}

static void a_prefetch_moves_every_page_that_it_touches(void **state)
{
	(void)state;
	run_seed(1, move_pages, NULL);
}

static void look_at_pages(void *arg)
{
	struct opened o = open_all(NULL);
	uint64_t addr = filled_pages(16);
	struct usvm_page_info info;

	(void)arg;
	CHECK(usvm_query(o.vm, pointer(addr), NULL) == -EINVAL);
	CHECK(usvm_query(o.vm, pointer(1ull << 47), &info) == -EINVAL);
	CHECK(!usvm_query(o.vm, pointer(SIM_START + MIB(512)), &info));
	CHECK(info.state == USVM_PAGE_UNMAPPED && !info.mapped && !info.device[0]);
	CHECK(!usvm_query(o.vm, pointer(addr), &info));
	CHECK(info.state == USVM_PAGE_HOME && !info.mapped && !info.device[0]);
	CHECK(!usvm_prefetch(o.vm, pointer(addr), 16 * PAGE_BYTES, USVM_PLACE_DEVICE));
	CHECK(!usvm_query(o.vm, pointer(addr + 8), &info));
	CHECK(info.state == USVM_PAGE_DEVICE && info.run_bytes == 16 * PAGE_BYTES);
	CHECK(info.mapped == 3 && !info.is_elsewhere && !strcmp(info.device, "model"));
	CHECK(load(addr) == word_of(0)); /* brings all of them home */
	CHECK(!usvm_query(o.vm, pointer(addr + PAGE_BYTES), &info));
	CHECK(info.state == USVM_PAGE_HOME && !info.mapped && !info.vram_offset);
	CHECK(!sim_mprotect(sim, span_make(addr, 16 * PAGE_BYTES), SYS_PROT_READ));
	CHECK(!touch_by(o.vm, addr, false));
	CHECK(!usvm_query(o.vm, pointer(addr), &info));
	CHECK(info.mapped == 1);
	close_all(&o);
}

static void a_query_tells_where_a_page_is(void **state)
{
	(void)state;
	run_seed(1, look_at_pages, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vm_may_be_for_reading_only),
		cmocka_unit_test(a_vm_mirrors_what_it_was_told_to),
		cmocka_unit_test(a_prefetch_moves_every_page_that_it_touches),
		cmocka_unit_test(a_query_tells_where_a_page_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
