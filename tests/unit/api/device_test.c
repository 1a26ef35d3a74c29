/* SPDX-License-Identifier: MIT */
/* device_test.c - opening and closing devices, the model and the caller's own. */
#include "api_fixture.h"
#include "device/null_device.h"

/* --- the model ---------------------------------------------------------------- */

static void look_at_models(void *arg)
{
	struct usvm_device_info info;
	struct usvm *device;

	(void)arg;
	CHECK(usvm_open(NULL, NULL) == -EINVAL);
	CHECK(usvm_open("model:vram=1", &device) == -EINVAL);
	CHECK(!usvm_open("model:vram=4M,engines=3", &device));
	CHECK(usvm_device_info(device, NULL) == -EINVAL);
	CHECK(!usvm_device_info(device, &info));
	CHECK(!strcmp(info.name, "model") && !strcmp(info.why_not, ""));
	CHECK(info.vram_bytes == MIB(4) && !info.vram_used_bytes && info.engine_count == 3);
	CHECK(!info.copies && info.migrates && info.kernel_faults && info.fork_events);
	CHECK(!usvm_close(device));
	CHECK(!usvm_open("model:mode=copy,system_atomics=no", &device));
	CHECK(!usvm_device_info(device, &info));
	CHECK(info.copies && info.vram_bytes == MIB(256));
	CHECK(!usvm_close(device));
}

static void a_device_tells_what_it_was_opened_with(void **state)
{
	(void)state;
	run_seed(1, look_at_models, NULL);
}

static void without_a_kernel_nothing_opens(void **state)
{
	struct usvm *device;

	(void)state;
	assert_int_equal(usvm_open(NULL, &device), -ENOSYS); /* no simulator is open */
	run_seed(1, look_at_models, NULL);
}

struct reason {
	uint32_t without; /* features */
	const char *spec;
	const char *why; /* a part of it; NULL: pages migrate */
};

static void look_for_a_reason(void *arg)
{
	const struct reason *reason = arg;
	struct opened o = open_all(reason->spec);
	uint64_t addr = filled_pages(4);
	struct usvm_device_info info;
	struct usvm_page_info page_info;

	CHECK(!usvm_device_info(o.device, &info));
	CHECK(info.migrates == !reason->why);
	CHECK(!reason->why || strstr(info.why_not, reason->why));
	CHECK(reason->why || !info.why_not[0]);
	CHECK(info.kernel_faults == !(reason->without & SYS_FEATURE_KERNEL_FAULTS));
	CHECK(info.fork_events == !(reason->without & SYS_FEATURE_EVENT_FORK));
	CHECK(!usvm_prefetch(o.vm, pointer(addr), 4 * PAGE_BYTES, USVM_PLACE_DEVICE));
	CHECK(!usvm_query(o.vm, pointer(addr), &page_info));
	CHECK(page_info.state == (reason->why ? USVM_PAGE_HOME : USVM_PAGE_DEVICE));
	close_all(&o);
}

static void why_nothing_migrates_is_told(void **state)
{
	static const struct reason reasons[] = {
		{ 0, NULL, NULL },
		{ 0, "model:migrate=never", "was asked for" },
		{ SYS_FEATURE_UFFD, NULL, "userfaultfd" },
		{ SYS_FEATURE_MOVE, NULL, "MOVE" },
		{ SYS_FEATURE_KERNEL_FAULTS, NULL, "system calls" },
		{ SYS_FEATURE_KERNEL_FAULTS, "model:migrate=always", NULL },
		{ SYS_FEATURE_EVENT_FORK, NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		struct sim_config config = sim_config_default(1);
		struct reason reason = reasons[i];

		config.features &= ~reason.without;
		if (run_config(&config, look_for_a_reason, &reason) != SIM_DONE)
			fail_msg("reason %zu: %s", i, sim_report(sim));
		assert_int_equal(sim_own_bytes(sim), 0);
		sim_close(sim);
	}
}

static void share(void *arg)
{
	struct opened a = open_all("model:vram=2M");
	struct opened b = open_all("model:vram=4M");
	uint64_t addr = filled_pages(1);
	struct usvm_page_info info;
	uint64_t value;

	(void)arg;
	CHECK(!usvm_prefetch(a.vm, pointer(addr), PAGE_BYTES, USVM_PLACE_DEVICE));
	CHECK(!usvm_query(b.vm, pointer(addr), &info));
	CHECK(info.state == USVM_PAGE_DEVICE && info.is_elsewhere);
	CHECK(!strcmp(info.device, "model"));
	close_all(&a);
	CHECK(!sim_load(sim, addr, &value) && value == word_of(0));
	CHECK(!usvm_query(b.vm, pointer(addr), &info));
	CHECK(info.state == USVM_PAGE_HOME && !info.is_elsewhere);
	close_all(&b);
}

static void the_first_of_two_may_be_closed_first(void **state)
{
	(void)state;
	run_seed(1, share, NULL);
}

/* --- memory is short --------------------------------------------------------------- */

static void open_short(void *arg)
{
	const char *spec = arg;
	uint64_t before = sim_calls(sim, "pages_alloc");
	struct usvm *device;
	uint64_t refused = 0;
	uint64_t count;

	CHECK(!usvm_open(spec, &device));
	count = sim_calls(sim, "pages_alloc") - before;
	CHECK(!usvm_close(device));
	for (uint64_t nth = 1; nth <= count; nth++) {
		uint64_t own = sim_own_bytes(sim);
		int err;

		sim_inject(sim, "pages_alloc", nth, ENOMEM, false);
		err = usvm_open(spec, &device);
		sim_inject(sim, "pages_alloc", 1, 0, false);
		CHECK(!err || err == -ENOMEM);
		CHECK(err || !usvm_close(device));
		CHECK(sim_own_bytes(sim) == own);
		refused += err != 0;
	}
	CHECK(refused >= 5); /* others are lived without */
}

static void an_open_that_lacks_memory_leaves_none_behind(void **state)
{
	static const char *const specs[] = { "model:trace=1024", "model:mode=copy,vram=2M" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++)
		run_seed(1, open_short, (void *)(uintptr_t)specs[i]);
}

static void create_short(void *arg)
{
	struct opened o = open_all(NULL);
	struct usvm_vm *vm;
	struct usvm_queue *queue;

	(void)arg;
	sim_inject(sim, "pages_alloc", 1, ENOMEM, false);
	CHECK(usvm_vm_create(o.device, NULL, &vm) == -ENOMEM);
	sim_inject(sim, "pages_alloc", 1, ENOMEM, false);
	CHECK(usvm_queue_create(o.vm, NULL, &queue) == -ENOMEM);
	sim_inject(sim, "pages_alloc", 1, 0, false);
	close_all(&o); /* what failed is not counted as in use */
}

static void what_was_not_created_does_not_keep_a_device(void **state)
{
	(void)state;
	run_seed(1, create_short, NULL);
}

/* --- a device of the caller's ------------------------------------------------------ */

struct own_device {
	const struct usvm_device_host *host;
	int attach_error;
	uint32_t attached, detached;
};

static int own_attach(void *device, const struct usvm_device_host *host)
{
	struct own_device *own = device;

	own->attached++;
	own->host = host;
	return own->attach_error;
}

static void own_detach(void *device)
{
	struct own_device *own = device;

	own->detached++;
}

static int own_copy(void *device, uint64_t offset, void *memory, uint64_t bytes, bool to_device)
{
	(void)device;
	(void)offset;
	(void)memory;
	(void)bytes;
	(void)to_device;
	return 0;
}

static const struct usvm_device_ops own_ops = {
	.attach = own_attach,
	.detach = own_detach,
	.vm_create = null_vm_create,
	.copy = own_copy,
	NULL_DEVICE_REST,
};

static struct usvm_device_config own_config(struct own_device *own)
{
	return (struct usvm_device_config){ .name = "a name of more than thirty-one bytes",
					    .ops = &own_ops,
					    .device = own,
					    .vram_bytes = MIB(4) };
}

static void open_own(void *arg)
{
	struct own_device own = { 0 };
	struct usvm_device_config config = own_config(&own);
	struct usvm_device_info info;
	struct usvm *device;
	struct usvm_vm *vm;
	struct usvm_queue *queue;

	(void)arg;
	CHECK(!usvm_open_device(&config, "migrate=always", &device));
	CHECK(own.attached == 1 && own.host->usvm == device && own.host->vram);
	CHECK(own.host->vram_bytes == MIB(4));
	CHECK(!usvm_device_info(device, &info));
	CHECK(!strcmp(info.name, "a name of more than thirty-one ")); /* and a zero */
	CHECK(info.vram_bytes == MIB(4) && !info.engine_count && !info.copies);
	CHECK(!usvm_vm_create(device, NULL, &vm));
	CHECK(usvm_queue_create(vm, NULL, &queue) == -EOPNOTSUPP);
	CHECK(!usvm_vm_destroy(vm));
	CHECK(!own.detached && !usvm_close(device) && own.detached == 1);
	config.flags = USVM_DEVICE_OWN_MEMORY | USVM_DEVICE_NO_SYSTEM_ATOMICS;
	CHECK(!usvm_open_device(&config, NULL, &device));
	CHECK(!own.host->vram);
	CHECK(!usvm_device_info(device, &info) && info.copies);
	CHECK(!usvm_close(device));
}

static void a_device_of_the_callers_is_opened(void **state)
{
	(void)state;
	run_seed(1, open_own, NULL);
}

static void fail_to_attach(void *arg)
{
	struct own_device own = { .attach_error = -EIO };
	struct usvm_device_config config = own_config(&own);
	struct usvm *device;

	(void)arg;
	CHECK(usvm_open_device(&config, NULL, &device) == -EIO);
	CHECK(own.attached == 1 && !own.detached);
	own.attach_error = 0;
	CHECK(!usvm_open_device(&config, NULL, &device));
	CHECK(!usvm_close(device));
}

static void a_device_that_does_not_attach_is_not_open(void **state)
{
	(void)state;
	run_seed(1, fail_to_attach, NULL);
}

/* Nothing is opened, so no kernel is needed. */
static void a_config_that_is_not_valid_is_refused(void **state)
{
	struct own_device own = { 0 };
	const struct usvm_device_config good = own_config(&own);
	struct usvm_device_ops ops = own_ops;
	struct usvm_device_config bad[10];
	struct usvm *device;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[0].name = NULL;
	bad[1].ops = NULL;
	bad[2].vram_bytes = 0;
	bad[3].vram_bytes = MIB(3);
	bad[4].vram_bytes = GIB(1024) + HUGE_BYTES;
	bad[5].flags = 16;
	bad[6].reserved = 1;
	ops.copy = NULL;
	bad[7].ops = &ops;
	bad[7].flags = USVM_DEVICE_OWN_MEMORY;
	bad[8].flags = USVM_DEVICE_PEER_COPY; /* and no memory of its own */
	bad[9].flags = USVM_DEVICE_PEER_COPY | USVM_DEVICE_OWN_MEMORY; /* and no op */
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(usvm_open_device(&bad[i], NULL, &device), -EINVAL);
	assert_int_equal(usvm_open_device(NULL, NULL, &device), -EINVAL);
	assert_int_equal(usvm_open_device(&good, NULL, NULL), -EINVAL);
	assert_int_equal(usvm_open_device(&good, "vram=2M", &device), -EINVAL);
	assert_int_equal(own.attached, 0);
}

static void every_op_has_to_be_there(void **state)
{
	const size_t count = sizeof(own_ops) / sizeof(own_ops.detach);
	struct own_device own = { 0 };
	struct usvm_device_config config = own_config(&own);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		struct usvm_device_ops ops = own_ops;
		struct usvm *device;

		if (i == offsetof(struct usvm_device_ops, copy) / sizeof(own_ops.detach))
			continue; /* only with OWN_MEMORY: above */
		if (i == offsetof(struct usvm_device_ops, copy_peer) / sizeof(own_ops.detach))
			continue; /* only with PEER_COPY: above */
		memset((char *)&ops + i * sizeof(own_ops.detach), 0, sizeof(own_ops.detach));
		config.ops = &ops;
		assert_int_equal(usvm_open_device(&config, NULL, &device), -EINVAL);
	}
	assert_int_equal(own.attached, 0);
}

static void call_host(void *arg)
{
	struct own_device own = { 0 };
	struct usvm_device_config config = own_config(&own);
	const struct usvm_device_host *host;
	uint64_t own_bytes;
	uint64_t word = 0;
	struct usvm *device;
	unsigned char *pages;

	(void)arg;
	CHECK(!usvm_open_device(&config, NULL, &device));
	host = own.host;
	CHECK(host->access(device, USVM_SYSTEM_SIGNED_MAX + 1, SIM_START, &word, 8) == -EFAULT);
	CHECK(host->access(device, USVM_SYSTEM_READ, SIM_START, &word, 0) == -EFAULT);
	CHECK(host->access(device, USVM_SYSTEM_READ, SIM_START + PAGE_BYTES - 4, &word, 8) ==
	      -EFAULT);
	CHECK(!host->pages_alloc(device, 0) && !host->pages_alloc(device, SIZE_MAX));
	host->pages_free(device, NULL, PAGE_BYTES);
	own_bytes = sim_own_bytes(sim);
	pages = host->pages_alloc(device, PAGE_BYTES + 1);
	CHECK(pages && !pages[0] && !pages[2 * PAGE_BYTES - 1]);
	CHECK(sim_own_bytes(sim) == own_bytes + 2 * PAGE_BYTES);
	host->pages_free(device, pages, PAGE_BYTES + 1);
	CHECK(sim_own_bytes(sim) == own_bytes);
	CHECK(!usvm_close(device));
}

static void what_a_device_asks_for_is_checked(void **state)
{
	(void)state;
	run_seed(1, call_host, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_tells_what_it_was_opened_with),
		cmocka_unit_test(without_a_kernel_nothing_opens),
		cmocka_unit_test(why_nothing_migrates_is_told),
		cmocka_unit_test(the_first_of_two_may_be_closed_first),
		cmocka_unit_test(an_open_that_lacks_memory_leaves_none_behind),
		cmocka_unit_test(what_was_not_created_does_not_keep_a_device),
		cmocka_unit_test(a_device_of_the_callers_is_opened),
		cmocka_unit_test(a_device_that_does_not_attach_is_not_open),
		cmocka_unit_test(a_config_that_is_not_valid_is_refused),
		cmocka_unit_test(every_op_has_to_be_there),
		cmocka_unit_test(what_a_device_asks_for_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
