/* SPDX-License-Identifier: MIT */
/* madvise_test.c - advice on spans of an address space, and what it is told to be. */
#include "xe_objects.h"

#include "pagemap/pagemap_internal.h"

#define ENTRIES (client.page + PAGE_BYTES)
#define ENTRIES_MAX 16u
#define START 0x10000000ull

static uint32_t vm;

static void start_advised(void)
{
	struct xe_bind_op op = mirror_op();

	client_start(NULL);
	vm = make_vm(SVM);
	CHECK(!bind_one(vm, &op, NULL, 0));
}

static struct xe_madvise advice(uint32_t type, uint64_t first, uint64_t pages)
{
	return (struct xe_madvise){
		.vm = vm,
		.type = type,
		.start = START + first * PAGE_BYTES,
		.bytes = pages * PAGE_BYTES,
	};
}

static int advise_number(uint32_t type, uint64_t first, uint64_t pages, uint32_t value)
{
	struct xe_madvise args = advice(type, first, pages);

	args.number.value = value;
	return call(XE_MADVISE, &args);
}

static int prefer(uint64_t first, uint64_t pages, uint32_t device_fd, uint16_t policy)
{
	struct xe_madvise args = advice(XE_ATTR_PREFERRED, first, pages);

	args.preferred.device_fd = device_fd;
	args.preferred.policy = policy;
	return call(XE_MADVISE, &args);
}

/* The pieces that meet some pages; checks that asking for their count says as many. */
static uint32_t pieces(uint64_t first, uint64_t pages,
		       struct xe_mem_range_attr found[ENTRIES_MAX])
{
	struct xe_query_mem_range_attrs args = {
		.vm = vm, .start = START + first * PAGE_BYTES, .bytes = pages * PAGE_BYTES,
	};
	uint32_t count;

	CHECK(!call(XE_VM_QUERY_MEM_RANGE_ATTRS, &args));
	count = args.count;
	CHECK(args.entry_bytes == sizeof(*found) && count <= ENTRIES_MAX);
	args.entries = ENTRIES;
	CHECK(!call(XE_VM_QUERY_MEM_RANGE_ATTRS, &args) && args.count == count);
	read_words(ENTRIES, found, count * sizeof(*found));
	return count;
}

static void split(void *arg)
{
	struct xe_mem_range_attr found[ENTRIES_MAX];

	(void)arg;
	start_advised();
	CHECK(pieces(0, 8, found) == 1);
	CHECK(found[0].atomic == XE_ATOMIC_UNDEFINED && found[0].pat_index == WB);
	CHECK(found[0].device_fd == XE_PREFERRED_DEVICE);
	CHECK(!advise_number(XE_ATTR_ATOMIC, 2, 2, XE_ATOMIC_CPU));
	CHECK(!prefer(3, 3, XE_PREFERRED_SYSTEM, 1));
	CHECK(!advise_number(XE_ATTR_PAT, 5, 2, 1));
	/* 2: CPU; 3: CPU, system; 4: system; 5: system, pat; 6: pat */
	CHECK(pieces(0, 16, found) == 7);
	CHECK(found[1].start == START + 2 * PAGE_BYTES);
	for (uint32_t i = 1; i < 7; i++) {
		CHECK(found[i].start == found[i - 1].end);
		CHECK(found[i].atomic == (i <= 2 ? XE_ATOMIC_CPU : XE_ATOMIC_UNDEFINED));
		CHECK((found[i].device_fd == XE_PREFERRED_SYSTEM) == (i >= 2 && i <= 4));
		CHECK(found[i].policy == (i >= 2 && i <= 4));
		CHECK(found[i].pat_index == (i == 4 || i == 5 ? 1 : WB));
	}
	/* Where all is as before they are one again. */
	CHECK(!advise_number(XE_ATTR_ATOMIC, 0, 16, XE_ATOMIC_DEVICE));
	CHECK(!advise_number(XE_ATTR_PAT, 0, 16, WB));
	CHECK(!prefer(0, 16, XE_PREFERRED_DEVICE, 0));
	CHECK(pieces(4, 2, found) == 1);
	CHECK(found[0].atomic == XE_ATOMIC_DEVICE && found[0].policy == 0);
	CHECK(!advise_number(XE_ATTR_ATOMIC, 4, 1, XE_ATOMIC_GLOBAL));
	CHECK(pieces(4, 1, found) == 1 && found[0].atomic == XE_ATOMIC_GLOBAL);
	client_stop();
}

static void advice_splits_and_joins_what_is_told(void **state)
{
	(void)state;
	run_client(split, NULL);
}

static void refuse(void *arg)
{
	struct xe_madvise bad[16], good, args;
	size_t n = 0;

	(void)arg;
	start_advised();
	good = advice(XE_ATTR_ATOMIC, 0, 1);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[n++].start += 8;
	bad[n++].bytes = 0;
	bad[n++].bytes += 8;
	bad[n++].bytes = 1ull << 48;
	bad[n++].type = XE_ATTR_PURGEABLE + 1;
	bad[n++].number.value = XE_ATOMIC_CPU + 1;
	bad[n++].vm = 99;
	bad[n] = advice(XE_ATTR_PAT, 0, 1);
	bad[n++].number.value = 16; /* there is none */
	bad[n] = advice(XE_ATTR_PAT, 0, 1);
	bad[n++].number.pad = 1;
	bad[n] = advice(XE_ATTR_PAT, 0, 1);
	bad[n++].number.retained = 1;
	bad[n] = advice(XE_ATTR_PURGEABLE, 0, 1);
	bad[n++].number.value = 2;
	bad[n] = advice(XE_ATTR_PURGEABLE, 0, 1);
	bad[n++].number.pad = 1;
	bad[n] = advice(XE_ATTR_PREFERRED, 0, 1);
	bad[n++].preferred.device_fd = (uint32_t)-2;
	bad[n] = advice(XE_ATTR_PREFERRED, 0, 1);
	bad[n++].preferred.policy = 2;
	bad[n] = advice(XE_ATTR_PREFERRED, 0, 1);
	bad[n++].preferred.reserved = 1;
	bad[n] = advice(XE_ATTR_PREFERRED, 0, 1);
	bad[n++].preferred.region = 1;
	CHECK(n == ARRAY_SIZE(bad));
	for (size_t i = 0; i < n; i++)
		CHECK(call(XE_MADVISE, &bad[i]) == -EINVAL);
	/* Canonical addresses of the upper half, and what no process has. */
	args = good;
	args.start |= 0xffff000000000000;
	args.number.value = XE_ATOMIC_DEVICE;
	CHECK(!call(XE_MADVISE, &args));
	args = good;
	args.start = 1ull << 47;
	CHECK(!call(XE_MADVISE, &args));
	client_stop();
}

static void wrong_advice_is_refused(void **state)
{
	(void)state;
	run_client(refuse, NULL);
}

static void ask(void *arg)
{
	const struct xe_query_mem_range_attrs good = {
		.vm = vm, .start = START, .bytes = PAGE_BYTES, .count = 1,
		.entry_bytes = sizeof(struct xe_mem_range_attr),
	};
	struct xe_query_mem_range_attrs bad[6], args;
	struct xe_mem_range_attr found[ENTRIES_MAX];

	(void)arg;
	start_advised();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		bad[i] = good;
		bad[i].vm = vm;
		bad[i].entries = ENTRIES;
	}
	bad[0].bytes = 0;
	bad[1].start += 8;
	bad[2].entries = 0;
	bad[3].entry_bytes--;
	bad[4].count = 0;
	bad[5].vm = 99;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK(call(XE_VM_QUERY_MEM_RANGE_ATTRS, &bad[i]) == -EINVAL);
	CHECK(!advise_number(XE_ATTR_ATOMIC, 2, 1, XE_ATOMIC_CPU));
	args = good;
	args.vm = vm;
	args.entries = ENTRIES;
	args.bytes = 4 * PAGE_BYTES;
	/* More than there is room for: as many as there is, and how many there are. */
	CHECK(!sim_store(sim, ENTRIES + sizeof(*found) + 8, 77));
	CHECK(call(XE_VM_QUERY_MEM_RANGE_ATTRS, &args) == -ENOSPC && args.count == 3);
	CHECK(load(ENTRIES + sizeof(*found) + 8) == 77);
	args.count = 3;
	args.entries = 8;
	CHECK(call(XE_VM_QUERY_MEM_RANGE_ATTRS, &args) == -EFAULT);
	/* More than are looked up at a time. */
	for (uint32_t i = 0; i < 6; i++)
		CHECK(!advise_number(XE_ATTR_ATOMIC, 2 * i, 1, XE_ATOMIC_CPU));
	CHECK(pieces(0, 12, found) == 12);
	for (uint32_t i = 0; i < 11; i++)
		CHECK(found[i].end == START + (i + 1) * PAGE_BYTES);
	client_stop();
}

static void who_asks_has_room_for_the_answer(void **state)
{
	(void)state;
	run_client(ask, NULL);
}

static void cpu_only(void *arg)
{
	struct xe_sync sync;
	struct xe_vm_get_property args = { .data = ENTRIES };
	struct xe_vm_fault record;
	uint64_t data;
	uint32_t queue;

	(void)arg;
	start_advised();
	data = map_pages(1);
	queue = make_queue(vm, XE_ENGINE_COPY);
	{
		const uint32_t batch[4] = { 0x17800501, (uint32_t)(data + 256),
					    (uint32_t)((data + 256) >> 32), END_OF_BATCH };
		struct xe_madvise cpu = { .vm = vm, .type = XE_ATTR_ATOMIC, .start = data,
					  .bytes = PAGE_BYTES, .number.value = XE_ATOMIC_CPU };

		write_words(data, batch, sizeof(batch));
		sync = user_fence(data + 512, 1);
		CHECK(!exec_one(queue, data, &sync, 1));
		CHECK(!wait_user_fence(data + 512, 1, queue, FOREVER));
		CHECK((uint32_t)load(data + 256) == 1);
		CHECK(!call(XE_MADVISE, &cpu));
	}
	sync = user_fence(data + 512, 2);
	CHECK(!exec_one(queue, data, &sync, 1));
	CHECK(wait_user_fence(data + 512, 2, queue, FOREVER) == -EIO);
	CHECK((uint32_t)load(data + 256) == 1);
	args.vm = vm;
	args.bytes = sizeof(record);
	CHECK(!call(XE_VM_GET_PROPERTY, &args));
	read_words(ENTRIES, &record, sizeof(record));
	CHECK(record.addr == data && record.access == 2 && record.type == 2);
	client_stop();
}

static void an_atomic_where_the_cpu_alone_has_them_bans_its_queue(void **state)
{
	(void)state;
	run_client(cpu_only, NULL);
}

/* --- other cards ------------------------------------------------------------------- */

static struct xe_card *other_card;

static struct xe_card *card_of_descriptor(int fd)
{
	return fd == 7 ? other_card : fd == 8 ? client.card : NULL;
}

static int unplug(void *argument)
{
	return vm_device_unplug(*(struct vm_device **)argument);
}

static int prefer_region(uint32_t device_fd, uint16_t region)
{
	struct xe_madvise args = advice(XE_ATTR_PREFERRED, 0, 1);

	args.preferred.device_fd = device_fd;
	args.preferred.region = region;
	return call(XE_MADVISE, &args);
}

static void cards(void *arg)
{
	const struct xe_card_config config = {
		.vram_bytes = MIB(16), .card_of = card_of_descriptor,
	};
	struct xe_bind_op op = mirror_op();

	(void)arg;
	memset(&client, 0, sizeof(client));
	CHECK(!xe_card_open(&config, &other_card) && !xe_card_open(&config, &client.card));
	CHECK(!xe_file_open(client.card, &client.file));
	client.page = map_pages(2);
	vm = make_vm(SVM);
	CHECK(!bind_one(vm, &op, NULL, 0));
	CHECK(prefer_region(9, 1) == -ENOENT);
	CHECK(prefer_region(7, 2) == -EINVAL);
	CHECK(!prefer_region(7, 1) && !prefer_region(8, 1));
	other_card->device->pagemap->config.peers = NULL;
	CHECK(prefer_region(7, 1) == -ENOLINK && !prefer_region(8, 1));
	CHECK(!mm_call(client.card->mm, unplug, &other_card->device, sizeof(other_card->device)));
	CHECK(prefer_region(7, 1) == -ENODEV);
	client_stop();
	xe_card_close(other_card);
}

static void a_card_that_is_preferred_is_there_and_is_reached(void **state)
{
	(void)state;
	run_client(cards, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(advice_splits_and_joins_what_is_told),
		cmocka_unit_test(wrong_advice_is_refused),
		cmocka_unit_test(who_asks_has_room_for_the_answer),
		cmocka_unit_test(an_atomic_where_the_cpu_alone_has_them_bans_its_queue),
		cmocka_unit_test(a_card_that_is_preferred_is_there_and_is_reached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
