/* SPDX-License-Identifier: MIT */
/* query_test.c - what a card tells of itself, and how its ioctls are told apart. */
#include "xe_objects.h"

#include <time.h>

#define ANSWER (client.page + PAGE_BYTES)

/* Ask how much it is, then for it. Return: bytes of the answer. */
static uint32_t ask(uint32_t query, void *answer, size_t max)
{
	struct xe_device_query args = { .query = query };
	uint32_t bytes;

	CHECK(!call(XE_DEVICE_QUERY, &args));
	bytes = args.bytes;
	CHECK(bytes && bytes <= max && !(bytes % 4));
	args.data = ANSWER;
	CHECK(!call(XE_DEVICE_QUERY, &args) && args.bytes == bytes);
	read_words(ANSWER, answer, bytes);
	args.bytes = bytes + 1;
	CHECK(call(XE_DEVICE_QUERY, &args) == -EINVAL);
	args.bytes = bytes;
	args.data = 8;
	CHECK(call(XE_DEVICE_QUERY, &args) == -EFAULT);
	return bytes;
}

static void parts(void *arg)
{
	struct {
		struct xe_list_head head;
		struct xe_engine engines[3];
	} engines;
	struct {
		struct xe_list_head head;
		struct xe_mem_region regions[2];
	} memory;
	struct {
		struct xe_list_head head;
		struct xe_gt gts[1];
	} gts;
	struct xe_oa_list observers;
	uint32_t keys[12];

	(void)arg;
	client_start("bmg");
	CHECK(ask(XE_QUERY_ENGINES, &engines, sizeof(engines)) == sizeof(engines));
	CHECK(engines.head.count == 3);
	CHECK(engines.engines[0].instance.engine_class == XE_ENGINE_RENDER);
	CHECK(engines.engines[1].instance.engine_class == XE_ENGINE_COPY);
	CHECK(engines.engines[2].instance.engine_class == XE_ENGINE_COMPUTE);
	CHECK(ask(XE_QUERY_MEM_REGIONS, &memory, sizeof(memory)) == sizeof(memory));
	CHECK(memory.head.count == 2);
	CHECK(memory.regions[0].memory_class == 0 && memory.regions[0].total_bytes);
	CHECK(memory.regions[1].memory_class == 1 && memory.regions[1].instance == 1);
	CHECK(memory.regions[1].total_bytes == MIB(16));
	CHECK(memory.regions[1].cpu_visible_bytes == MIB(16));
	CHECK(memory.regions[1].used_bytes == 0);
	/* What objects take is counted. */
	make_object_of(512, 1u << 1, 0);
	ask(XE_QUERY_MEM_REGIONS, &memory, sizeof(memory));
	CHECK(memory.regions[1].used_bytes == MIB(2));
	CHECK(memory.regions[1].cpu_visible_used_bytes == MIB(2));
	CHECK(ask(XE_QUERY_GT_LIST, &gts, sizeof(gts)) == sizeof(gts));
	CHECK(gts.head.count == 1 && gts.gts[0].reference_clock_hz == 19200000);
	CHECK(gts.gts[0].near_regions == 1u << 1 && gts.gts[0].far_regions == 1u << 0);
	CHECK(gts.gts[0].version_major == 20 && gts.gts[0].version_minor == 1);
	CHECK(ask(XE_QUERY_OA_UNITS, &observers, sizeof(observers)) == sizeof(observers));
	CHECK(!observers.count);
	CHECK(ask(XE_QUERY_HWCONFIG, keys, sizeof(keys)) == sizeof(keys));
	CHECK(keys[9] == 15 && keys[10] == 1); /* threads in an EU */
	client_stop();
}

static void a_card_tells_what_it_has(void **state)
{
	(void)state;
	run_client(parts, NULL);
}

static void topology(void *arg)
{
	unsigned char answer[256];
	uint32_t bytes, at = 0, seen = 0;

	(void)arg;
	client_start(NULL);
	bytes = ask(XE_QUERY_GT_TOPOLOGY, answer, sizeof(answer));
	while (at < bytes) {
		struct xe_topology_head head;
		uint64_t mask;

		memcpy(&head, answer + at, sizeof(head));
		memcpy(&mask, answer + at + sizeof(head), sizeof(mask));
		CHECK(!head.gt && mask && (head.bytes == 8 || head.bytes == 16));
		seen |= 1u << head.type;
		at += (uint32_t)sizeof(head) + head.bytes;
	}
	CHECK(at == bytes);
	/* Of this generation: groups of 16 lanes. */
	CHECK(seen == (1u << XE_TOPOLOGY_DSS_GEOMETRY | 1u << XE_TOPOLOGY_DSS_COMPUTE |
		       1u << XE_TOPOLOGY_L3_BANK | 1u << XE_TOPOLOGY_SIMD16_EU_PER_DSS));
	client_stop();
}

static void the_masks_of_the_topology_follow_each_other(void **state)
{
	(void)state;
	run_client(topology, NULL);
}

static int ask_cycles(struct xe_engine_cycles *c)
{
	struct xe_device_query args = {
		.query = XE_QUERY_ENGINE_CYCLES, .bytes = sizeof(*c), .data = ANSWER,
	};
	int err;

	write_words(ANSWER, c, sizeof(*c));
	err = call(XE_DEVICE_QUERY, &args);
	read_words(ANSWER, c, sizeof(*c));
	return err;
}

static void cycles(void *arg)
{
	struct xe_device_query args = { .query = XE_QUERY_ENGINE_CYCLES };
	static const int32_t clocks[] = { CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME,
					  CLOCK_BOOTTIME, CLOCK_TAI };
	struct xe_engine_cycles c = { .engine.engine_class = XE_ENGINE_COPY };
	uint64_t before = 0;

	(void)arg;
	client_start(NULL);
	CHECK(!call(XE_DEVICE_QUERY, &args) && args.bytes == sizeof(c));
	args.bytes--;
	CHECK(call(XE_DEVICE_QUERY, &args) == -EINVAL);
	args.bytes = sizeof(c);
	args.data = 8;
	CHECK(call(XE_DEVICE_QUERY, &args) == -EFAULT);
	for (size_t i = 0; i < ARRAY_SIZE(clocks); i++) {
		c.clock_id = clocks[i];
		CHECK(!ask_cycles(&c));
		CHECK(c.width_bits == 36 && c.cycles < 1ull << 36 && c.cpu_timestamp_ns);
		CHECK(c.cycles >= before || before - c.cycles > 1ull << 35); /* it wraps */
		before = c.cycles;
	}
	c.clock_id = CLOCK_PROCESS_CPUTIME_ID;
	CHECK(ask_cycles(&c) == -EINVAL);
	c.clock_id = CLOCK_MONOTONIC;
	c.engine.instance = 1;
	CHECK(ask_cycles(&c) == -EINVAL);
	c.engine.instance = 0;
	c.engine.gt = 1;
	CHECK(ask_cycles(&c) == -EINVAL);
	client_stop();
}

static void cycles_are_told_beside_a_clock_of_the_processors(void **state)
{
	(void)state;
	run_client(cycles, NULL);
}

static int ask_firmware(struct xe_uc_fw_version *v)
{
	struct xe_device_query args = {
		.query = XE_QUERY_UC_FW_VERSION, .bytes = sizeof(*v), .data = ANSWER,
	};
	int err;

	write_words(ANSWER, v, sizeof(*v));
	err = call(XE_DEVICE_QUERY, &args);
	read_words(ANSWER, v, sizeof(*v));
	return err;
}

static void firmware(void *arg)
{
	struct xe_device_query args = { .query = XE_QUERY_UC_FW_VERSION };
	struct xe_uc_fw_version v = { 0 };

	(void)arg;
	client_start(NULL);
	CHECK(!call(XE_DEVICE_QUERY, &args) && args.bytes == sizeof(v));
	args.bytes++;
	CHECK(call(XE_DEVICE_QUERY, &args) == -EINVAL);
	args.bytes = sizeof(v);
	args.data = 8;
	CHECK(call(XE_DEVICE_QUERY, &args) == -EFAULT);
	CHECK(!ask_firmware(&v) && v.major);
	v = (struct xe_uc_fw_version){ .type = 1 };
	CHECK(ask_firmware(&v) == -ENODEV);
	v.type = 2;
	CHECK(ask_firmware(&v) == -EINVAL);
	v = (struct xe_uc_fw_version){ .pad = 1 };
	CHECK(ask_firmware(&v) == -EINVAL);
	v = (struct xe_uc_fw_version){ .pad2 = 1 };
	CHECK(ask_firmware(&v) == -EINVAL);
	v = (struct xe_uc_fw_version){ .reserved = 1 };
	CHECK(ask_firmware(&v) == -EINVAL);
	args = (struct xe_device_query){ .query = XE_QUERY_PXP_STATUS };
	CHECK(!call(XE_DEVICE_QUERY, &args) && args.bytes == sizeof(struct xe_pxp_status));
	CHECK(call(XE_DEVICE_QUERY, &args) == -ENODEV);
	args.bytes++;
	CHECK(call(XE_DEVICE_QUERY, &args) == -EINVAL);
	args = (struct xe_device_query){ .query = XE_QUERY_EU_STALL };
	CHECK(call(XE_DEVICE_QUERY, &args) == -ENODEV);
	client_stop();
}

static void one_firmware_has_a_version_the_other_is_not_there(void **state)
{
	(void)state;
	run_client(firmware, NULL);
}

static void driver(void *arg)
{
	struct drm_version version = { 0 };
	struct drm_unique unique = { .bytes = 64, .unique = ANSWER };
	struct drm_cap cap = { .capability = DRM_CAP_SYNCOBJ_TIMELINE };
	char text[16] = { 0 };

	(void)arg;
	client_start(NULL);
	CHECK(!call(DRM_VERSION, &version));
	CHECK(version.name_bytes == 2 && version.date_bytes == 1 && version.text_bytes == 17);
	version.name = ANSWER;
	version.name_bytes = 1; /* as much as there is room for, and how much there is */
	CHECK(!call(DRM_VERSION, &version) && version.name_bytes == 2);
	read_words(ANSWER, text, 8);
	CHECK(!strcmp(text, "x"));
	version.name = 8;
	CHECK(call(DRM_VERSION, &version) == -EFAULT);
	version.name = 0;
	version.date = 8;
	CHECK(call(DRM_VERSION, &version) == -EFAULT);
	CHECK(!call(DRM_GET_UNIQUE, &unique) && unique.bytes == 12);
	read_words(ANSWER, text, 16);
	CHECK(!strncmp(text, "0000:e0:03.0", 12));
	CHECK(!call(DRM_GET_CAP, &cap) && cap.value == 1);
	cap.capability = DRM_CAP_PRIME;
	CHECK(!call(DRM_GET_CAP, &cap) && !cap.value);
	cap.capability = DRM_CAP_DUMB_BUFFER;
	CHECK(call(DRM_GET_CAP, &cap) == -EOPNOTSUPP);
	CHECK(!xe_ioctl(client.file, XE_IOCTL_TYPE << 8 | DRM_SET_MASTER, 0));
	client_stop();
}

static void the_driver_has_a_name_and_the_card_a_place(void **state)
{
	(void)state;
	run_client(driver, NULL);
}

static void shorter(void *arg)
{
	/* Only the flags and the number, of what has reserved words too. */
	struct xe_vm_create create = { .reserved = { 5, 5 } };
	const uint64_t request = (uint64_t)offsetof(struct xe_vm_create, reserved) << 16 |
				 XE_IOCTL_TYPE << 8 | XE_VM_CREATE;
	const uint64_t longer = (uint64_t)512 << 16 | XE_IOCTL_TYPE << 8 | XE_VM_CREATE;

	(void)arg;
	client_start(NULL);
	write_words(client.page, &create, sizeof(create));
	CHECK(!xe_ioctl(client.file, request, client.page));
	CHECK(load(client.page + 16) == 5); /* and no more is written */
	CHECK(xe_ioctl(client.file, longer, client.page) == -EINVAL);
	write_words(client.page, &(struct xe_vm_create){ 0 }, sizeof(create));
	CHECK(!xe_ioctl(client.file, longer, client.page));
	read_words(client.page, &create, sizeof(create));
	CHECK(create.vm == 2);
	/* It cannot be told what was made. */
	CHECK(!sim_mprotect(sim, span_make(client.page, PAGE_BYTES), SYS_PROT_READ));
	CHECK(xe_ioctl(client.file, longer, client.page) == -EFAULT);
	client_stop();
}

static void a_struct_may_be_shorter_or_longer_than_ours(void **state)
{
	(void)state;
	run_client(shorter, NULL);
}

static void counters(void *arg)
{
	const struct xe_bind_op mirror = mirror_op();
	struct xe_bind_op op;
	static char text[16384];
	uint64_t memory;
	size_t bytes;
	uint32_t vm;

	(void)arg;
	client_start(NULL);
	memory = map_pages(1);
	vm = make_vm(SVM);
	CHECK(!bind_one(vm, &mirror, NULL, 0));
	CHECK(!sim_store(sim, memory, 5));
	op = prefetch_op(memory, 1, 1);
	CHECK(!bind_one(vm, &op, NULL, 0));
	bytes = xe_stats_text(client.card, text, sizeof(text) - 1);
	CHECK(bytes && bytes < sizeof(text) - 1 && text[bytes - 1] == '\n');
	text[bytes] = 0;
	CHECK(strstr(text, "\nusvm_pages_to_device: 1\n"));
	/* Clients find a name anywhere: what ends as another comes behind that. */
	CHECK(strstr(text, "tlb_inval_count") < strstr(text, "svm_tlb_inval_count"));
	CHECK(xe_stats_text(client.card, text, 20) <= 20);
	client_stop();
}

static void counters_are_lines_of_text(void **state)
{
	(void)state;
	run_client(counters, NULL);
}

/* The GPU stores there, and nothing is left of the commands in a page that stays. */
static void store_at(uint32_t queue, uint64_t data, uint64_t at)
{
	struct xe_sync sync = user_fence(data + 512, at);

	write_store(data, at, 42);
	CHECK(!exec_one(queue, data, &sync, 1));
	CHECK(!wait_user_fence(data + 512, at, queue, FOREVER));
}

static void report(void *arg)
{
	static const enum sys_vma_kind kinds[] = { SYS_VMA_ANON_SHARED, SYS_VMA_FILE_PRIVATE,
						   SYS_VMA_FILE_SHARED };
	const struct xe_bind_op mirror = mirror_op();
	static char text[32768];
	const struct xe_card_config config = { .vram_bytes = MIB(16), .place_on_device = true };
	struct xe_sync sync;
	uint64_t data, memory;
	uint32_t vm, queue;
	size_t bytes;

	(void)arg;
	CHECK(!xe_card_open(&config, &client.card));
	CHECK(!xe_file_open(client.card, &client.file));
	client.page = map_pages(2);
	data = map_pages(1);
	vm = make_vm(SVM);
	CHECK(!bind_one(vm, &mirror, NULL, 0));
	queue = make_queue(vm, XE_ENGINE_COPY);
	CHECK(!exec_one(queue, 0, NULL, 0)); /* no job: it has no commands */
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		CHECK(!sim_mmap(sim, 0, PAGE_BYTES, READ_WRITE, kinds[i], 0, &memory));
		store_at(queue, data, memory);
	}
	memory = map_pages(1);
	CHECK(!sim_mlock(sim, span_make(memory, PAGE_BYTES), true));
	store_at(queue, data, memory);
	memory = map_pages(1); /* commands that cannot be written */
	write_store(memory, data + 256, 42);
	CHECK(!sim_mprotect(sim, span_make(memory, PAGE_BYTES), SYS_PROT_READ));
	sync = user_fence(data + 512, 1);
	CHECK(!exec_one(queue, memory, &sync, 1));
	CHECK(!wait_user_fence(data + 512, 1, queue, FOREVER));
	bytes = xe_report_text(client.card, false, text, sizeof(text) - 1);
	CHECK(bytes && bytes < sizeof(text) - 1 && text[bytes - 1] == '\n');
	text[bytes] = 0;
	CHECK(!strncmp(text, "card 0\njobs 5\n", 14));
	CHECK(strstr(text, "\nsvm_pagefault_count "));
	CHECK(strstr(text, "\nstayed "));
	CHECK(strstr(text, "\nusvm_stayed_shared 1\n"));
	CHECK(strstr(text, "\nusvm_stayed_file 2\n"));
	CHECK(!strstr(text, "\nusvm_stayed_protected 0\n"));
	CHECK(strstr(text, "\nusvm_stayed_other 0\n"));
	CHECK(xe_report_text(client.card, false, text, 20) <= 20);
	client_stop();
}

static void a_report_has_jobs_counters_and_what_stayed(void **state)
{
	(void)state;
	run_client(report, NULL);
}

static void no_card(void *arg)
{
	struct xe_card_config config = { .profile = "none", .vram_bytes = MIB(2) };
	uint64_t before = sim_calls(sim, "pages_alloc"), count;
	struct xe_card *card;
	uint32_t refused = 0;

	(void)arg;
	CHECK(xe_card_open(&config, &card) == -EINVAL);
	config.profile = "cri";
	config.vram_bytes = MIB(1) + 1;
	CHECK(xe_card_open(&config, &card) == -EINVAL);
	config.vram_bytes = MIB(2);
	xe_card_close(NULL);
	CHECK(!xe_card_open(&config, &card));
	CHECK(!xe_is_forked());
	count = sim_calls(sim, "pages_alloc") - before;
	xe_card_close(card);
	for (uint64_t nth = 1; nth <= count; nth++) {
		int err;

		sim_inject(sim, "pages_alloc", nth, ENOMEM, false);
		err = xe_card_open(&config, &card);
		sim_inject(sim, "pages_alloc", 1, 0, false);
		CHECK(!err || err == -ENOMEM);
		if (!err)
			xe_card_close(card);
		refused += err != 0;
		CHECK(sim_own_bytes(sim) == 0);
	}
	CHECK(refused >= 5);
}

static void a_card_that_cannot_be_opened_leaves_nothing(void **state)
{
	(void)state;
	run_client(no_card, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_card_tells_what_it_has),
		cmocka_unit_test(the_masks_of_the_topology_follow_each_other),
		cmocka_unit_test(cycles_are_told_beside_a_clock_of_the_processors),
		cmocka_unit_test(one_firmware_has_a_version_the_other_is_not_there),
		cmocka_unit_test(the_driver_has_a_name_and_the_card_a_place),
		cmocka_unit_test(a_struct_may_be_shorter_or_longer_than_ours),
		cmocka_unit_test(counters_are_lines_of_text),
		cmocka_unit_test(a_report_has_jobs_counters_and_what_stayed),
		cmocka_unit_test(a_card_that_cannot_be_opened_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
