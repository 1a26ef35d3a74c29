/* SPDX-License-Identifier: MIT */
/*
 * usvm_open_device() with a configuration that is not right, or a device that fails:
 * the documented error, and nothing changed.
 */
#include <errno.h>

#include "device/null_device.h"
#include "live/support/unchanged.h"

/* --- a device of the caller's ---------------- */

/* A device without engines. attach() and vm_create() fail with what they are told. */
struct idle_device {
	int attach_error, vm_error;
	int attached, calls;
};

static int idle_attach(void *device, const struct usvm_device_host *host)
{
	struct idle_device *d = device;

	(void)host;
	d->calls++;
	d->attached += !d->attach_error;
	return d->attach_error;
}

static void idle_detach(void *device)
{
	((struct idle_device *)device)->attached--;
}

static int idle_vm_create(void *device, uint32_t vm)
{
	(void)vm;
	return ((struct idle_device *)device)->vm_error;
}

static int idle_copy(void *device, uint64_t vram_offset, void *memory, uint64_t bytes,
		     bool to_device)
{
	(void)device, (void)vram_offset, (void)memory, (void)bytes, (void)to_device;
	return -EIO;
}

static int idle_copy_peer(void *device, uint64_t vram_offset, void *peer, uint64_t peer_offset,
			  uint64_t bytes)
{
	(void)device, (void)vram_offset, (void)peer, (void)peer_offset, (void)bytes;
	return -EIO;
}

static const struct usvm_device_ops idle_ops = {
	.attach = idle_attach,
	.detach = idle_detach,
	.vm_create = idle_vm_create,
	.copy = idle_copy,
	.copy_peer = idle_copy_peer,
	NULL_DEVICE_REST,
};

static void a_device_with_an_op_missing_is_not_opened(void **state)
{
	struct scene s = set_scene(*state);
	struct idle_device device = { 0 };
	struct usvm_device_ops ops;
	struct usvm_device_config config = {
		.name = "idle", .ops = &ops, .device = &device, .vram_bytes = LIVE_HUGE,
		.flags = USVM_DEVICE_OWN_MEMORY | USVM_DEVICE_PEER_COPY,
	};
	struct usvm *gpu = UNTOUCHED(struct usvm);
	void *none = NULL;

	/* Every op is a pointer, and nothing else is in the table. */
	for (size_t i = 0; i < sizeof(ops) / sizeof(none); i++) {
		ops = idle_ops;
		memcpy((char *)&ops + i * sizeof(none), &none, sizeof(none));
		REFUSED(&s, -EINVAL, usvm_open_device(&config, NULL, &gpu));
	}
	assert_ptr_equal(gpu, UNTOUCHED(struct usvm));
	assert_int_equal(device.calls, 0);
	/* copy() and copy_peer() are for memory of the device's own. */
	config.flags = USVM_DEVICE_PEER_COPY;
	ops = idle_ops;
	REFUSED(&s, -EINVAL, usvm_open_device(&config, NULL, &gpu));
	ops.copy = NULL;
	ops.copy_peer = NULL;
	config.flags = 0;
	assert_int_equal(usvm_open_device(&config, NULL, &gpu), 0);
	assert_int_equal(device.attached, 1);
	assert_int_equal(usvm_close(gpu), 0);
	assert_int_equal(device.attached, 0);
	clear_scene(&s);
}

static void a_bad_device_config_opens_nothing(void **state)
{
	static const uint64_t bad_bytes[] = { 0, 1, LIVE_PAGE, LIVE_HUGE - 1, LIVE_HUGE + 1,
					      3 * LIVE_HUGE / 2, UINT64_MAX,
					      UINT64_MAX - LIVE_HUGE + 1 };
	static const char *const model_only[] = { "vram=4M", "mode=copy", "engines=1",
						  "system_atomics=no", "migrate=auto,vram=4M",
						  "model", "model:migrate=auto", "migrate",
						  "home=8K" };
	struct scene s = set_scene(*state);
	struct idle_device device = { 0 };
	const struct usvm_device_config good = { .name = "idle", .ops = &idle_ops,
						 .device = &device, .vram_bytes = LIVE_HUGE };
	struct usvm_device_config bad;
	struct usvm *gpu = UNTOUCHED(struct usvm);

	for (size_t i = 0; i < sizeof(bad_bytes) / sizeof(bad_bytes[0]); i++) {
		bad = good;
		bad.vram_bytes = bad_bytes[i];
		REFUSED(&s, -EINVAL, usvm_open_device(&bad, NULL, &gpu));
	}
	for (uint32_t bit = 3; bit < 32; bit++) {
		bad = good;
		bad.flags = 1u << bit;
		REFUSED(&s, -EINVAL, usvm_open_device(&bad, NULL, &gpu));
	}
	bad = good;
	bad.reserved = 1;
	REFUSED(&s, -EINVAL, usvm_open_device(&bad, NULL, &gpu));
	bad = good;
	bad.ops = NULL;
	REFUSED(&s, -EINVAL, usvm_open_device(&bad, NULL, &gpu));
	bad = good;
	bad.name = NULL;
	REFUSED(&s, -EINVAL, usvm_open_device(&bad, NULL, &gpu));
	REFUSED(&s, -EINVAL, usvm_open_device(NULL, NULL, &gpu));
	REFUSED(&s, -EINVAL, usvm_open_device(&good, NULL, NULL));
	for (size_t i = 0; i < sizeof(model_only) / sizeof(model_only[0]); i++)
		assert_refused(&s, model_only[i],
			       usvm_open_device(&good, model_only[i], &gpu), -EINVAL);
	assert_int_equal(device.calls, 0);
	assert_ptr_equal(gpu, UNTOUCHED(struct usvm));
	clear_scene(&s);
}

static void errors_of_a_device_are_passed_on(void **state)
{
	struct scene s = set_scene(*state);
	struct idle_device device = { .attach_error = -EXFULL };
	const struct usvm_device_config config = { .name = "idle", .ops = &idle_ops,
						   .device = &device,
						   .vram_bytes = LIVE_HUGE };
	struct usvm *gpu = UNTOUCHED(struct usvm);
	struct usvm_vm *vm = UNTOUCHED(struct usvm_vm);
	struct usvm_queue *queue = UNTOUCHED(struct usvm_queue);

	REFUSED(&s, -EXFULL, usvm_open_device(&config, NULL, &gpu));
	assert_ptr_equal(gpu, UNTOUCHED(struct usvm));
	assert_int_equal(device.calls, 1);
	assert_int_equal(device.attached, 0);

	device = (struct idle_device){ .vm_error = -ENOMEM };
	assert_int_equal(usvm_open_device(&config, "migrate=auto,home=64K", &gpu), 0);
	assert_int_equal(usvm_vm_create(gpu, NULL, &vm), -ENOMEM);
	assert_ptr_equal(vm, UNTOUCHED(struct usvm_vm));
	device.vm_error = 0;
	assert_int_equal(usvm_vm_create(gpu, NULL, &vm), 0);
	assert_int_equal(usvm_queue_create(vm, NULL, &queue), -EOPNOTSUPP);
	assert_ptr_equal(queue, UNTOUCHED(struct usvm_queue));
	assert_int_equal(usvm_vm_destroy(vm), 0);
	assert_int_equal(usvm_close(gpu), 0);
	assert_int_equal(device.attached, 0);
	clear_scene(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_MOVE(a_device_with_an_op_missing_is_not_opened),
		LIVE_TEST_MOVE(a_bad_device_config_opens_nothing),
		LIVE_TEST_MOVE(errors_of_a_device_are_passed_on),
	};

	return LIVE_RUN(tests);
}
