/* SPDX-License-Identifier: MIT */
/*
 * DOC: calls on address spaces and memory
 *
 * What the arguments alone decide is asked for exactly: an empty span, one that wraps or
 * leaves user space, one that is not of pages. The rest depends on what ran before.
 */
#include "fuzz/api.h"

#define USER_END (UINT64_C(1) << 47)

static const void *pointer(uint64_t addr)
{
	return (const void *)(uintptr_t)addr;
}

/* As prefetch and query take them: widened to pages. */
static bool is_span(uint64_t addr, uint64_t bytes)
{
	return bytes && addr + bytes > addr && addr + bytes <= USER_END;
}

void api_vm_create(struct api *api)
{
	struct api_handle h = api_handle(api, API_DEVICE);
	struct api_slot *slot = api_free_slot(api, API_VM);
	uint32_t how = fuzz_take8(&api->in);
	struct usvm_vm_config config = { .flags = (how & 3) | (how >> 1 & 4) };
	struct usvm_vm *vm = API_UNTOUCHED;
	int wanted = h.error;
	int err;

	if (how >= 0xe0)
		config.flags = (uint32_t)fuzz_take(&api->in, 4);
	else if (how >= 0xd0)
		config.reserved = how & 1;
	if (!wanted && (!slot || config.reserved || config.flags > 7))
		wanted = -EINVAL;
	err = usvm_vm_create(h.handle, how & 4 && !wanted ? NULL : &config,
			     slot ? &vm : NULL);
	if (wanted || !h.slot->is_own)
		API_EXACTLY("usvm_vm_create", err, wanted);
	else
		API_EXPECT("usvm_vm_create", err, -ENOMEM);
	if (err)
		FUZZ_CHECK(vm == API_UNTOUCHED, "a vm in spite of %d", err);
	else
		api_born(slot, vm, h.slot);
}

void api_vm_destroy(struct api *api)
{
	struct api_handle h = api_handle(api, API_VM);
	int wanted = h.slot && h.slot->children ? -EBUSY : h.error;

	if (!h.handle)
		wanted = 0;
	API_EXACTLY("usvm_vm_destroy", usvm_vm_destroy(h.handle), wanted);
	if (h.slot && !wanted)
		api_died(h.slot);
}

void api_mirror(struct api *api)
{
	struct api_handle h = api_handle(api, API_VM);
	uint64_t addr = api_memory_address(&api->in);
	uint64_t bytes = api_memory_bytes(&api->in);
	uint32_t flags = fuzz_take8(&api->in);
	int wanted = h.error;
	int err;

	flags = flags < 0xc0 ? (flags & 1) * USVM_VM_READ_ONLY :
			       (uint32_t)fuzz_take(&api->in, 4);
	if (!wanted && ((flags & ~(uint32_t)(USVM_VM_READ_ONLY | USVM_VM_AUTORESET)) ||
			!is_span(addr, bytes) || (addr | bytes) % API_PAGE))
		wanted = -EINVAL;
	err = usvm_vm_mirror(h.handle, pointer(addr), bytes, flags);
	if (wanted)
		API_EXACTLY("usvm_vm_mirror", err, wanted);
	else
		API_EXPECT("usvm_vm_mirror", err, -EBUSY, -ENOMEM);
}

void api_unmirror(struct api *api)
{
	struct api_handle h = api_handle(api, API_VM);
	uint64_t addr = api_memory_address(&api->in);
	uint64_t bytes = api_memory_bytes(&api->in);
	int wanted = h.error;
	int err;

	if (!wanted && (!is_span(addr, bytes) || (addr | bytes) % API_PAGE))
		wanted = -EINVAL;
	err = usvm_vm_unmirror(h.handle, pointer(addr), bytes);
	if (wanted)
		API_EXACTLY("usvm_vm_unmirror", err, wanted);
	else
		API_EXPECT("usvm_vm_unmirror", err, -ENOENT, -EBUSY);
}

void api_prefetch(struct api *api)
{
	struct api_handle h = api_handle(api, API_VM);
	uint64_t addr = api_memory_address(&api->in);
	uint64_t bytes = api_memory_bytes(&api->in);
	uint32_t how = fuzz_take8(&api->in);
	uint32_t place = how < 0xc0 ? how & 1 : (uint32_t)fuzz_take(&api->in, 4);
	int wanted = h.error;
	int err;

	if (!api_memory_may_move(addr, bytes))
		return;
	if (!wanted && (place > USVM_PLACE_ADVISED || !is_span(addr, bytes)))
		wanted = -EINVAL;
	err = usvm_prefetch(h.handle, pointer(addr), bytes, (enum usvm_place)place);
	if (wanted)
		API_EXACTLY("usvm_prefetch", err, wanted);
	else
		API_EXPECT("usvm_prefetch", err, -EFAULT, -ENOMEM);
}

void api_query(struct api *api)
{
	struct api_handle h = api_handle(api, API_VM);
	uint64_t addr = api_memory_address(&api->in);
	bool null = fuzz_take8(&api->in) % 16 == 1;
	struct usvm_page_info info = { .state = 77 };
	int wanted = h.error;
	int err;

	if (!wanted && (null || addr >= USER_END))
		wanted = -EINVAL;
	err = usvm_query(h.handle, pointer(addr), null ? NULL : &info);
	API_EXACTLY("usvm_query", err, wanted);
	FUZZ_CHECK(!err || info.state == 77, "written in spite of %d", err);
	FUZZ_CHECK(err || (info.state <= USVM_PAGE_DEVICE && info.mapped <= 3 &&
			   info.run_bytes % API_PAGE == 0 &&
			   memchr(info.device, 0, sizeof(info.device))), "info");
}

void api_query_span(struct api *api)
{
	struct api_handle h = api_handle(api, API_VM);
	uint64_t addr = api_memory_address(&api->in);
	uint64_t bytes = api_memory_bytes(&api->in);
	bool null = fuzz_take8(&api->in) % 16 == 1;
	uint64_t first = addr & ~(API_PAGE - 1);
	uint64_t pages[4] = { 77, 77, 77, 77 };
	int wanted = h.error;
	int err;

	if (!wanted && (null || !is_span(addr, bytes)))
		wanted = -EINVAL;
	err = usvm_query_span(h.handle, pointer(addr), bytes, null ? NULL : pages);
	API_EXACTLY("usvm_query_span", err, wanted);
	if (err)
		FUZZ_CHECK(pages[0] == 77 && pages[3] == 77, "written in spite of %d", err);
	else
		FUZZ_CHECK(pages[0] + pages[1] + pages[2] + pages[3] ==
				   (addr + bytes - first + API_PAGE - 1) / API_PAGE,
			   "the states of all pages");
}

void api_faults(struct api *api)
{
	struct api_handle h = api_handle(api, API_VM);
	uint32_t how = fuzz_take8(&api->in);
	struct usvm_fault faults[8];
	struct usvm_fault *to = how & 0x10 ? NULL : faults;
	size_t max = how % 9;
	size_t count = 77;
	int wanted = h.error;
	int err;

	if (!wanted && ((how & 0x20) || (!to && max)))
		wanted = -EINVAL;
	err = usvm_faults(h.handle, to, max, how & 0x20 ? NULL : &count);
	API_EXACTLY("usvm_faults", err, wanted);
	FUZZ_CHECK(!err || count == 77, "written in spite of %d", err);
	FUZZ_CHECK(err || count <= 50, "%zu faults", count);
	for (size_t i = 0; to && !err && i < max && i < count; i++)
		FUZZ_CHECK(faults[i].error < 0 && faults[i].access <= USVM_ACCESS_PREFETCH,
			   "fault %zu", i);
}
