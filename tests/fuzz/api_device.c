/* SPDX-License-Identifier: MIT */
/*
 * DOC: calls on devices
 *
 * Beside the model there is a device that has no engine: its ops do nothing, and its
 * memory, where it has its own, is shared memory, which cannot migrate.
 */
#include <sys/mman.h>

#include "device/null_device.h"
#include "fuzz/api.h"

#define OWN_BYTES_MAX (UINT64_C(4) << 20)
#define DEVICE_FLAGS (USVM_DEVICE_OWN_MEMORY | USVM_DEVICE_NO_SYSTEM_ATOMICS | \
		      USVM_DEVICE_OBJECTS)

/* --- the device without an engine ---------------- */

static int attach_error;
static int vm_create_error;
static unsigned char *own_memory;

static int own_attach(void *device, const struct usvm_device_host *host)
{
	(void)device, (void)host;
	return attach_error;
}

static int own_vm_create(void *device, uint32_t vm)
{
	(void)device, (void)vm;
	return vm_create_error;
}

static int own_copy(void *device, uint64_t vram_offset, void *memory, uint64_t bytes,
		    bool to_device)
{
	(void)device;
	return null_copy(own_memory, vram_offset, memory, bytes, to_device);
}

/* --- open, close ---------------- */

static const char *const spec_parts[] = {
	"model", ":",	     ",",	    "=",	"vram=2M",  "vram=4M",
	"vram=", "mode=copy", "mode=move",  "mode=",	"engines=1", "engines=16",
	"migrate=always",     "migrate=never", "migrate=auto", "home=4K", "home=64K",
	"home=2M", "notifier=2M", "notifier=", "system_atomics=no", "system_atomics=yes",
	"trace=16", "trace=4096", "trace=", "0", "1T", "3M", "18446744073709551616", "K",
};
#define SPEC_PARTS (sizeof(spec_parts) / sizeof(spec_parts[0]))

static const char *const good_specs[] = {
	"model:vram=2M,engines=1",
	"model:vram=4M,mode=copy,engines=1,trace=16",
	"model:vram=2M,home=4K,migrate=always",
	"model:vram=6M,system_atomics=no,notifier=2M,home=64K",
};

/* A text of known parts and of any bytes; what is good is rare in it. */
static const char *take_spec(struct fuzz_input *in, char *text, size_t size)
{
	uint32_t how = fuzz_take8(in);
	size_t length = 0;

	if (how < 0xa0)
		return good_specs[how % 4];
	if (how == 0xff)
		return NULL;
	for (uint32_t n = how % 8; n; n--) {
		uint32_t part = fuzz_take8(in);

		if (part < 0xe0)
			length += (size_t)snprintf(text + length, size - length, "%s",
						   spec_parts[part % SPEC_PARTS]);
		else
			text[length++] = (char)fuzz_take8(in);
	}
	text[length] = 0;
	return text;
}

/* The environment is the default of @spec. */
static void opened(struct api_slot *slot, int err, struct usvm *device)
{
	struct usvm_device_info info;

	if (err) {
		FUZZ_CHECK(device == API_UNTOUCHED, "a device in spite of %d", err);
		return;
	}
	api_born(slot, device, NULL);
	API_EXACTLY("usvm_device_info", usvm_device_info(device, &info), 0);
	FUZZ_CHECK(info.vram_bytes && !info.vram_used_bytes, "a new device");
}

void api_open(struct api *api)
{
	struct api_slot *slot = api_free_slot(api, API_DEVICE);
	struct usvm *device = API_UNTOUCHED;
	char text[256];
	const char *spec = take_spec(&api->in, text, sizeof(text));
	int err;

	if (!slot) {
		API_EXACTLY("usvm_open", usvm_open(spec, NULL), -EINVAL);
		return;
	}
	err = usvm_open(spec, &device);
	API_EXPECT("usvm_open", err, -EINVAL, -ENOMEM, -EAGAIN);
	opened(slot, err, device);
	if (!err)
		slot->has_trace = strstr(spec ? spec : "", "trace=") != NULL;
}

static void drop_an_op(struct usvm_device_ops *ops, uint32_t which)
{
	void *op = (unsigned char *)ops + which % (sizeof(*ops) / sizeof(void (*)(void))) *
						  sizeof(void (*)(void));

	memset(op, 0, sizeof(void (*)(void)));
}

static void take_config(struct fuzz_input *in, struct usvm_device_config *config,
			struct usvm_device_ops *ops)
{
	uint32_t how = fuzz_take8(in);

	config->vram_bytes = (1 + how % 2) * OWN_BYTES_MAX / 2;
	config->flags = how >> 2 & DEVICE_FLAGS;
	attach_error = how >> 4 == 1 ? -EIO : 0;
	vm_create_error = how >> 4 == 2 ? -ENOMEM : 0;
	switch (how >> 4) {
	case 3:
		config->vram_bytes = api_memory_bytes(in);
		break;
	case 4:
		config->flags = (uint32_t)fuzz_take(in, 4);
		break;
	case 5:
		config->reserved = fuzz_take8(in);
		break;
	case 6:
		config->name = NULL;
		break;
	case 7:
		config->ops = NULL;
		break;
	case 8:
		drop_an_op(ops, fuzz_take8(in));
		break;
	case 9:
		config->name = "a name that is longer than what a device's information has";
		break;
	default:
		break;
	}
	/* As much as there is. */
	if ((config->flags & USVM_DEVICE_OWN_MEMORY) && config->vram_bytes > OWN_BYTES_MAX)
		config->flags &= ~(uint32_t)USVM_DEVICE_OWN_MEMORY;
}

void api_open_device(struct api *api)
{
	struct usvm_device_ops ops = {
		.attach = own_attach,
		.detach = null_nothing,
		.vm_create = own_vm_create,
		.copy = own_copy,
		NULL_DEVICE_REST,
	};
	static struct usvm_device_ops kept_ops[API_SLOTS];
	struct api_slot *slot = api_free_slot(api, API_DEVICE);
	struct usvm_device_config config = { .name = "null" };
	struct usvm *device = API_UNTOUCHED;
	int err;

	for (uint32_t i = 0; i < API_SLOTS; i++) {
		if (api->slot[API_DEVICE][i].live && api->slot[API_DEVICE][i].is_own)
			return; /* own_memory is one device's */
	}
	if (!slot)
		return;
	if (!own_memory)
		own_memory = mmap(NULL, OWN_BYTES_MAX, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	FUZZ_CHECK(own_memory != MAP_FAILED, "no memory");
	config.ops = &kept_ops[slot - api->slot[API_DEVICE]];
	take_config(&api->in, &config, &ops);
	kept_ops[slot - api->slot[API_DEVICE]] = ops;
	err = usvm_open_device(&config, fuzz_take8(&api->in) & 1 ? "home=4K" : NULL, &device);
	API_EXPECT("usvm_open_device", err, -EINVAL, -ENOMEM, -EAGAIN, attach_error);
	FUZZ_CHECK(err || !attach_error, "attach() failed");
	opened(slot, err, device);
	if (!err)
		slot->is_own = true;
}

void api_close(struct api *api)
{
	struct api_handle h = api_handle(api, API_DEVICE);
	int wanted = h.slot && h.slot->children ? -EBUSY : h.error;

	if (!h.handle)
		wanted = 0;
	API_EXACTLY("usvm_close", usvm_close(h.handle), wanted);
	if (h.slot && !wanted)
		api_died(h.slot);
}

/* --- questions ---------------- */

void api_device_info(struct api *api)
{
	struct api_handle h = api_handle(api, API_DEVICE);
	bool null = fuzz_take8(&api->in) % 8 == 0;
	struct usvm_device_info info = { .vram_bytes = 77 };
	int err = usvm_device_info(h.handle, null ? NULL : &info);

	API_EXACTLY("usvm_device_info", err, h.error ? h.error : null ? -EINVAL : 0);
	FUZZ_CHECK(!err || info.vram_bytes == 77, "written in spite of %d", err);
	FUZZ_CHECK(err || (info.vram_used_bytes <= info.vram_bytes &&
			   memchr(info.name, 0, sizeof(info.name)) &&
			   memchr(info.why_not, 0, sizeof(info.why_not))), "info");
}

void api_stats(struct api *api)
{
	struct api_handle h = api_handle(api, API_DEVICE);
	uint32_t how = fuzz_take8(&api->in);
	struct usvm_stat stats[16] = { { "untouched", 0 } };
	size_t max = how & 1 ? 0 : how / 16;
	size_t count = 7777;
	struct usvm_stat *to = how & 2 ? NULL : stats;
	int wanted = (how & 12) == 12 || (!to && max) ? -EINVAL : 0;
	int err = usvm_stats(h.handle, to, max, (how & 12) == 12 ? NULL : &count);

	API_EXACTLY("usvm_stats", err, h.error ? h.error : wanted);
	FUZZ_CHECK(!err || (count == 7777 && !strcmp(stats[0].name, "untouched")), "written");
	FUZZ_CHECK(err || (count != 7777 && count > 16), "%zu counters", count);
	for (size_t i = 0; to && !err && i < max; i++)
		FUZZ_CHECK(usvm_stat(h.handle, stats[i].name) <= UINT64_MAX, "a counter");
	FUZZ_CHECK(!usvm_stat(h.handle, "no such counter"), "a counter of no name");
	FUZZ_CHECK(!usvm_stat(h.handle, NULL), "a counter of no name");
}

void api_trace_read(struct api *api)
{
	struct api_handle h = api_handle(api, API_DEVICE);
	uint32_t how = fuzz_take8(&api->in);
	struct usvm_trace_event events[8];
	uint64_t dropped = 0;
	size_t count = 77;
	size_t max = how % 9;
	struct usvm_trace_event *to = how & 0x10 ? NULL : events;
	int wanted = h.error;
	int err = usvm_trace_read(h.handle, to, max, how & 0x20 ? NULL : &count,
				  how & 0x40 ? NULL : &dropped);

	if (!wanted && ((how & 0x20) || (!to && max)))
		wanted = -EINVAL;
	if (!wanted && !h.slot->has_trace)
		wanted = -ENOENT;
	if (h.slot && h.slot->has_trace && !wanted)
		API_EXPECT("usvm_trace_read", err, -ENOENT); /* trace=0 */
	else
		API_EXACTLY("usvm_trace_read", err, wanted);
	FUZZ_CHECK(!err || count == 77, "written in spite of %d", err);
	for (size_t i = 0; !err && i < count; i++)
		FUZZ_CHECK(i < max && events[i].name && *events[i].name, "event %zu", i);
}

void api_texts(struct api *api)
{
	FUZZ_CHECK(*usvm_strerror((int)fuzz_take(&api->in, 4)), "no text");
	FUZZ_CHECK(*usvm_version(), "no version");
}
