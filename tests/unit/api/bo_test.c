/* SPDX-License-Identifier: MIT */
/* bo_test.c - buffer objects, on the model device and a simulated kernel. */
#include "api_fixture.h"

#define AT 0x600000000000ull /* GPU addresses that the process never has */

struct access {
	uint64_t addr;
	uint64_t value;
	uint64_t result_addr; /* 0: store @value at addr; else add it, and the sum goes there */
};

static void run_access(struct usvm_lane *lane, const void *args)
{
	const struct access *a = args;

	if (a->result_addr)
		usvm_store64(lane, a->result_addr, usvm_load64(lane, a->addr) + a->value);
	else
		usvm_store64(lane, a->addr, a->value);
}

static int run(struct usvm_vm *vm, struct access access)
{
	const struct usvm_kernel kernel = { .function = run_access,
					    .args = &access,
					    .args_bytes = sizeof(access) };
	struct usvm_queue *queue;
	int err;

	CHECK(!usvm_queue_create(vm, NULL, &queue));
	err = usvm_run_kernel(queue, &kernel);
	CHECK(!usvm_queue_destroy(queue));
	return err;
}

static uint64_t read_by_gpu(struct usvm_vm *vm, uint64_t addr, uint64_t scratch)
{
	uint64_t value = 0;

	CHECK(!run(vm, (struct access){ addr, 0, scratch }));
	CHECK(!sim_load(sim, scratch, &value));
	return value;
}

static struct usvm_bo_info info_of(struct usvm_bo *bo)
{
	struct usvm_bo_info info;

	CHECK(!usvm_bo_info(bo, &info));
	return info;
}

static uint64_t used(struct usvm *device)
{
	struct usvm_device_info info;

	CHECK(!usvm_device_info(device, &info));
	return info.vram_used_bytes;
}

static void use_objects(void *arg)
{
	const struct usvm_bo_config config = { .bytes = MIB(2), .placement = USVM_BO_DEVICE,
					       .flags = USVM_BO_DEVICE_ONLY };
	struct opened o = open_all(arg);
	uint64_t scratch = filled_pages(1);
	struct usvm_bo *bos[3];

	for (uint64_t i = 0; i < 3; i++) {
		CHECK(!usvm_bo_create(o.device, &config, &bos[i]));
		CHECK(!usvm_vm_bind(o.vm, AT + i * MIB(2), MIB(2), bos[i], 0, 0));
		CHECK(read_by_gpu(o.vm, AT + i * MIB(2), scratch) == 0);
		CHECK(!run(o.vm, (struct access){ .addr = AT + i * MIB(2) + 8, .value = i + 7 }));
	}
	CHECK(used(o.device) <= MIB(4));
	for (uint64_t i = 0; i < 3; i++)
		CHECK(read_by_gpu(o.vm, AT + i * MIB(2) + 8, scratch) == i + 7);
	CHECK(info_of(bos[0]).evictions >= 1 && info_of(bos[1]).evictions >= 1);
	CHECK(usvm_stat(o.device, "usvm_bo_evictions") >= 2);
	CHECK(info_of(bos[2]).place == USVM_BO_DEVICE && info_of(bos[2]).vram_bytes == MIB(2));

	/* A bind keeps what its handle has left. */
	CHECK(usvm_close(o.device) == -EBUSY);
	for (uint64_t i = 0; i < 3; i++)
		CHECK(!usvm_bo_destroy(bos[i]));
	CHECK(read_by_gpu(o.vm, AT + 8, scratch) == 7);
	CHECK(!usvm_vm_unbind(o.vm, AT, MIB(6)));
	CHECK(run(o.vm, (struct access){ .addr = AT }) == -EFAULT);
	close_all(&o);
}

static void objects_take_turns_in_device_memory(void **state)
{
	(void)state;
	run_seed(1, use_objects, "model:vram=4M");
	run_seed(1, use_objects, "model:vram=4M,mode=copy");
}

static void bind_parts(void *arg)
{
	const struct usvm_bo_config config = { .bytes = MIB(1) };
	struct opened o = open_all(NULL);
	uint64_t memory = filled_pages(8);
	uint64_t scratch = filled_pages(1);
	struct usvm_bo *bo;

	(void)arg;
	CHECK(!usvm_bo_create(o.device, &config, &bo));
	CHECK(info_of(bo).placement == (USVM_BO_SYSTEM | USVM_BO_DEVICE));
	CHECK(info_of(bo).place == 0 && info_of(bo).bytes == MIB(1));
	CHECK(!usvm_vm_bind(o.vm, memory + 2 * PAGE_BYTES, 4 * PAGE_BYTES, bo, KIB(64),
			    USVM_BIND_NOW));
	CHECK(info_of(bo).place == USVM_BO_DEVICE);
	CHECK(!usvm_vm_bind(o.vm, AT, MIB(1), bo, 0, USVM_BIND_READ_ONLY));
	CHECK(!run(o.vm, (struct access){ .addr = memory + 3 * PAGE_BYTES, .value = 99 }));
	CHECK(read_by_gpu(o.vm, AT + KIB(68), scratch) == 99);
	CHECK(run(o.vm, (struct access){ .addr = AT, .value = 1 }) == -EPERM);
	/* Beside it is the mirror, and behind it the program's memory as it was. */
	CHECK(read_by_gpu(o.vm, memory + PAGE_BYTES, scratch) == word_of(1));
	CHECK(usvm_vm_bind(o.vm, memory + PAGE_BYTES, PAGE_BYTES, bo, 0, 0) == -EBUSY);
	CHECK(usvm_vm_unbind(o.vm, memory, 2 * PAGE_BYTES) == -EBUSY);
	CHECK(!usvm_vm_mirror(o.vm, pointer(memory + 2 * PAGE_BYTES), 4 * PAGE_BYTES, 0));
	CHECK(read_by_gpu(o.vm, memory + 3 * PAGE_BYTES, scratch) == word_of(3));
	/* Nothing, that can be read. */
	CHECK(!usvm_vm_bind(o.vm, AT, KIB(64), NULL, 0, 0));
	CHECK(!run(o.vm, (struct access){ .addr = AT, .value = 5 }));
	CHECK(read_by_gpu(o.vm, AT, scratch) == 0);
	CHECK(read_by_gpu(o.vm, AT + KIB(68), scratch) == 99);
	CHECK(!usvm_bo_move(bo, USVM_PLACE_SYSTEM));
	CHECK(info_of(bo).place == USVM_BO_SYSTEM && info_of(bo).vram_bytes == 0);
	CHECK(read_by_gpu(o.vm, AT + KIB(68), scratch) == 99);
	CHECK(!usvm_bo_destroy(bo));
	close_all(&o);
}

static void parts_are_bound_over_the_mirror_and_beside_it(void **state)
{
	(void)state;
	run_seed(1, bind_parts, NULL);
}

static void refuse(void *arg)
{
	struct usvm_bo_config config = { .bytes = MIB(4), .placement = USVM_BO_DEVICE };
	struct opened o = open_all("model:vram=4M"), other = open_all("model:vram=4M");
	struct usvm_bo *bo, *more = NULL;
	struct usvm_bo_info info;
	void *addr;

	(void)arg;
	CHECK(usvm_bo_create(o.device, NULL, &bo) == -EINVAL);
	CHECK(usvm_bo_create(o.device, &config, NULL) == -EINVAL);
	CHECK(usvm_bo_create((struct usvm *)o.vm, &config, &bo) == -EBADF);
	CHECK(!usvm_bo_create(o.device, &config, &bo));
	config.bytes = 100;
	CHECK(usvm_bo_create(o.device, &config, &more) == -EINVAL);
	config.bytes = MIB(8);
	CHECK(usvm_bo_create(o.device, &config, &more) == -ENOSPC);
	config = (struct usvm_bo_config){ .bytes = MIB(8), .placement = 8 };
	CHECK(usvm_bo_create(o.device, &config, &more) == -EINVAL);
	config = (struct usvm_bo_config){ .bytes = MIB(8), .flags = 8 };
	CHECK(usvm_bo_create(o.device, &config, &more) == -EINVAL);
	CHECK(!more);

	CHECK(usvm_bo_map(bo, 0, KIB(4), NULL) == -EINVAL);
	CHECK(usvm_bo_map(bo, 0, 0, &addr) == -EINVAL);
	CHECK(usvm_bo_map(bo, MIB(4), KIB(4), &addr) == -EINVAL);
	CHECK(usvm_bo_map(bo, UINT64_MAX - 4095, KIB(8), &addr) == -EINVAL);
	CHECK(usvm_bo_map((struct usvm_bo *)o.vm, 0, KIB(4), &addr) == -EBADF);
	CHECK(usvm_bo_move(bo, USVM_PLACE_SYSTEM) == -EINVAL);
	CHECK(usvm_bo_move(bo, (enum usvm_place)7) == -EINVAL);
	CHECK(usvm_bo_move((struct usvm_bo *)o.vm, USVM_PLACE_SYSTEM) == -EBADF);
	CHECK(usvm_bo_info(bo, NULL) == -EINVAL);
	CHECK(usvm_bo_info((struct usvm_bo *)o.vm, &info) == -EBADF);

	CHECK(usvm_vm_bind(o.vm, AT, 0, bo, 0, 0) == -EINVAL);
	CHECK(usvm_vm_bind(o.vm, AT + 1, KIB(4), bo, 0, 0) == -EINVAL);
	CHECK(usvm_vm_bind(o.vm, AT, MIB(4), bo, KIB(4), 0) == -EINVAL);
	CHECK(usvm_vm_bind(o.vm, AT, KIB(4), NULL, KIB(4), 0) == -EINVAL);
	CHECK(usvm_vm_bind(o.vm, AT, KIB(4), bo, 0, 4) == -EINVAL);
	CHECK(usvm_vm_bind(o.vm, 1ull << 48, KIB(4), bo, 0, 0) == -EINVAL);
	CHECK(usvm_vm_bind(o.vm, UINT64_MAX - 4095, KIB(4), bo, 0, 0) == -EINVAL);
	CHECK(usvm_vm_bind(other.vm, AT, KIB(4), bo, 0, 0) == -EINVAL);
	CHECK(usvm_vm_bind((struct usvm_vm *)bo, AT, KIB(4), bo, 0, 0) == -EBADF);
	CHECK(usvm_vm_bind(o.vm, AT, KIB(4), (struct usvm_bo *)o.vm, 0, 0) == -EBADF);
	CHECK(usvm_vm_unbind(o.vm, AT, 0) == -EINVAL);
	CHECK(usvm_vm_unbind(o.vm, AT, 100) == -EINVAL);
	CHECK(!usvm_vm_unbind(o.vm, AT, KIB(4)));
	CHECK(usvm_vm_unbind((struct usvm_vm *)bo, AT, KIB(4)) == -EBADF);

	CHECK(!usvm_device_unplug(o.device));
	CHECK(usvm_vm_bind(o.vm, AT, KIB(4), bo, 0, 0) == -ENODEV);
	CHECK(usvm_bo_move(bo, USVM_PLACE_DEVICE) == -ENODEV);
	config = (struct usvm_bo_config){ .bytes = MIB(4) };
	CHECK(usvm_bo_create(o.device, &config, &more) == -ENODEV);
	CHECK(!usvm_bo_destroy(bo));
	CHECK(!usvm_bo_destroy(NULL));
	close_all(&o);
	close_all(&other);
}

static void what_is_not_right_is_refused(void **state)
{
	(void)state;
	run_seed(1, refuse, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_take_turns_in_device_memory),
		cmocka_unit_test(parts_are_bound_over_the_mirror_and_beside_it),
		cmocka_unit_test(what_is_not_right_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
