/* SPDX-License-Identifier: MIT */
/* advise_test.c - what a program says about memory, and what it is told. */
#include "api_fixture.h"

#define PAGES 16

static void advise(struct usvm_vm *vm, uint64_t addr, uint64_t pages, uint32_t which,
		   struct usvm_attributes attributes)
{
	CHECK(!usvm_advise(vm, pointer(addr), pages * PAGE_BYTES, which, &attributes));
}

static void pass_wrong_arguments(void *arg)
{
	struct opened o = open_all(NULL);
	const uint32_t where = USVM_ATTRIBUTE_LOCATION;
	const struct usvm_attributes none = { 0 };
	uint64_t addr = filled_pages(2);
	const void *at = pointer(addr);
	struct usvm_advised advised;
	size_t count = 77;
	struct {
		const void *at;
		size_t bytes;
		uint32_t which;
		struct usvm_attributes attributes;
		int error;
	} cases[] = {
		{ pointer(addr + 1), PAGE_BYTES, where, none, -EINVAL },
		{ at, PAGE_BYTES - 1, where, none, -EINVAL },
		{ at, 0, where, none, -EINVAL },
		{ at, SIZE_MAX & ~0xfffull, where, none, -EINVAL },
		{ pointer((1ull << 47) - PAGE_BYTES), 2 * PAGE_BYTES, where, none, -EINVAL },
		{ at, PAGE_BYTES, 0, none, -EINVAL },
		{ at, PAGE_BYTES, 8, none, -EINVAL },
		{ at, PAGE_BYTES, where, { .reserved = 1 }, -EINVAL },
		{ at, PAGE_BYTES, where, { .location = USVM_LOCATION_ELSEWHERE }, -EINVAL },
		{ at, PAGE_BYTES, where, { .device = o.device }, -EINVAL },
		{ at, PAGE_BYTES, USVM_ATTRIBUTE_ATOMIC, { .atomic = 4 }, -EINVAL },
		{ at, PAGE_BYTES, where,
		  { .location = USVM_LOCATION_DEVICE, .device = (struct usvm *)o.vm },
		  -EBADF },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		CHECK(usvm_advise(o.vm, cases[i].at, cases[i].bytes, cases[i].which,
				  &cases[i].attributes) == cases[i].error);
	CHECK(usvm_advise(o.vm, at, PAGE_BYTES, where, NULL) == -EINVAL);
	CHECK(usvm_advise_query(o.vm, at, PAGE_BYTES, &advised, 1, NULL) == -EINVAL);
	CHECK(usvm_advise_query(o.vm, at, PAGE_BYTES, NULL, 1, &count) == -EINVAL);
	CHECK(usvm_advise_query(o.vm, at, 0, &advised, 1, &count) == -EINVAL);
	CHECK(usvm_advise_query(o.vm, at, SIZE_MAX, &advised, 1, &count) == -EINVAL);
	CHECK(count == 77);
	CHECK(!usvm_advise_query(o.vm, at, PAGE_BYTES, &advised, 1, &count));
	CHECK(count == 1 && advised.bytes > MIB(1));
	close_all(&o);
}

static void wrong_arguments_are_refused(void **state)
{
	(void)state;
	run_seed(1, pass_wrong_arguments, NULL);
}

static void ask(void *arg)
{
	struct opened o = open_all(NULL);
	struct usvm *other;
	uint64_t addr = filled_pages(PAGES);
	struct usvm_advised advised[PAGES];
	size_t count;

	(void)arg;
	CHECK(!usvm_open(NULL, &other));
	for (uint64_t i = 0; i < PAGES; i++)
		advise(o.vm, addr + i * PAGE_BYTES, 1, USVM_ATTRIBUTE_PAT,
		       (struct usvm_attributes){ .pat_index = (uint32_t)i + 1 });
	/* More than a call has room for, and fewer than there are. */
	CHECK(!usvm_advise_query(o.vm, pointer(addr), PAGES * PAGE_BYTES, advised, 7,
				 &count));
	CHECK(count == PAGES);
	for (uint64_t i = 0; i < 7; i++) {
		CHECK(advised[i].addr == addr + i * PAGE_BYTES);
		CHECK(advised[i].bytes == PAGE_BYTES);
		CHECK(advised[i].attributes.pat_index == i + 1);
	}
	advise(o.vm, addr, 1, USVM_ATTRIBUTE_LOCATION,
	       (struct usvm_attributes){ .location = USVM_LOCATION_DEVICE });
	advise(o.vm, addr + PAGE_BYTES, 1, USVM_ATTRIBUTE_LOCATION,
	       (struct usvm_attributes){ .location = USVM_LOCATION_DEVICE, .device = other });
	CHECK(!usvm_close(other)); /* what was said of it does not keep it */
	CHECK(!usvm_advise_query(o.vm, pointer(addr), 2 * PAGE_BYTES, advised, 2, &count));
	CHECK(count == 2);
	CHECK(advised[0].attributes.location == USVM_LOCATION_DEVICE);
	CHECK(advised[0].attributes.device == o.device);
	CHECK(advised[1].attributes.location == USVM_LOCATION_ELSEWHERE);
	CHECK(!advised[1].attributes.device);
	close_all(&o);
}

static void a_query_tells_what_was_said(void **state)
{
	(void)state;
	run_seed(1, ask, NULL);
}

static void prefetch_as_advised(void *arg)
{
	struct opened o = open_all(NULL);
	uint64_t addr = filled_pages(PAGES);
	uint64_t pages[4];

	(void)arg;
	advise(o.vm, addr, PAGES / 2, USVM_ATTRIBUTE_LOCATION,
	       (struct usvm_attributes){ .location = USVM_LOCATION_SYSTEM });
	CHECK(!usvm_prefetch(o.vm, pointer(addr), PAGES * PAGE_BYTES, USVM_PLACE_ADVISED));
	CHECK(!usvm_query_span(o.vm, pointer(addr), PAGES / 2 * PAGE_BYTES, pages));
	CHECK(pages[USVM_PAGE_HOME] == PAGES / 2);
	CHECK(!usvm_query_span(o.vm, pointer(addr), PAGES * PAGE_BYTES, pages));
	CHECK(pages[USVM_PAGE_HOME] == PAGES / 2 && pages[USVM_PAGE_DEVICE] == PAGES / 2);
	close_all(&o);
}

static void a_prefetch_may_follow_the_advice(void **state)
{
	(void)state;
	run_seed(1, prefetch_as_advised, NULL);
}

static void map_and_unmap(void *arg)
{
	const struct usvm_vm_config config = { .flags = USVM_VM_AUTORESET };
	uint64_t addr = filled_pages(PAGES);
	struct usvm_advised advised[3];
	struct usvm *device;
	struct usvm_vm *vm, *pieces;
	size_t count;

	(void)arg;
	CHECK(!usvm_open(NULL, &device));
	CHECK(!usvm_vm_create(device, &config, &vm));
	CHECK(!usvm_vm_create(device, &(struct usvm_vm_config){ .flags = USVM_VM_NO_MIRROR },
			      &pieces));
	CHECK(usvm_vm_mirror(pieces, pointer(addr), PAGE_BYTES, 2 * USVM_VM_AUTORESET) ==
	      -EINVAL);
	CHECK(!usvm_vm_mirror(pieces, pointer(addr), PAGES * PAGE_BYTES, USVM_VM_AUTORESET));
	advise(vm, addr, PAGES, USVM_ATTRIBUTE_PAT, (struct usvm_attributes){ .pat_index = 1 });
	advise(pieces, addr, PAGES, USVM_ATTRIBUTE_PAT,
	       (struct usvm_attributes){ .pat_index = 1 });
	CHECK(!sim_munmap(sim, span_make(addr + PAGE_BYTES, PAGE_BYTES)));
	CHECK(!usvm_advise_query(vm, pointer(addr), PAGES * PAGE_BYTES, advised, 3, &count));
	CHECK(count == 3 && advised[0].bytes == PAGE_BYTES && advised[1].bytes == PAGE_BYTES);
	CHECK(advised[0].attributes.pat_index == 1 && !advised[1].attributes.pat_index);
	CHECK(!usvm_advise_query(pieces, pointer(addr), PAGES * PAGE_BYTES, advised, 3,
				 &count));
	CHECK(count == 3 && !advised[1].attributes.pat_index);
	CHECK(!usvm_vm_destroy(vm));
	CHECK(!usvm_vm_destroy(pieces));
	CHECK(!usvm_close(device));
}

static void advice_goes_with_memory_where_that_was_asked_for(void **state)
{
	(void)state;
	run_seed(1, map_and_unmap, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_arguments_are_refused),
		cmocka_unit_test(a_query_tells_what_was_said),
		cmocka_unit_test(a_prefetch_may_follow_the_advice),
		cmocka_unit_test(advice_goes_with_memory_where_that_was_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
