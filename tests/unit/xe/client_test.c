/* SPDX-License-Identifier: MIT */
/* client_test.c - what fdinfo tells of a file: memory by place, and time on engines. */
#include <stdio.h>
#include <stdlib.h>

#include "xe_objects.h"

#define A OBJECTS
#define B (OBJECTS + MIB(1))

static char text[4096];

static const char *tell(struct xe_file *file)
{
	size_t bytes = xe_fdinfo_text(file, text, sizeof(text) - 1);

	CHECK(bytes && bytes < sizeof(text) - 1);
	text[bytes] = 0;
	return text;
}

/* Bytes, or a count: the number of a line. */
static uint64_t told(struct xe_file *file, const char *key)
{
	const char *at = strstr(tell(file), key);
	char *end;
	uint64_t value;

	CHECK(at && (at == text || at[-1] == '\n') && !strncmp(at + strlen(key), ":\t", 2));
	value = strtoull(at + strlen(key) + 2, &end, 10);
	if (!strncmp(end, " KiB\n", 5))
		return value << 10;
	if (!strncmp(end, " MiB\n", 5))
		return value << 20;
	CHECK(*end == '\n');
	return value;
}

static void expect_region(const char *region, uint64_t total, uint64_t resident, uint64_t active)
{
	char key[64];

	snprintf(key, sizeof(key), "drm-total-%s", region);
	CHECK(told(client.file, key) == total);
	snprintf(key, sizeof(key), "drm-resident-%s", region);
	CHECK(told(client.file, key) == resident);
	snprintf(key, sizeof(key), "drm-active-%s", region);
	CHECK(told(client.file, key) == active);
}

static void memory(void *arg)
{
	struct xe_gem_create deferred = {
		.bytes = KIB(4), .placement = 1u << 1, .cpu_caching = XE_GEM_CACHING_WC,
		.flags = XE_GEM_DEFER_BACKING,
	};
	struct xe_file *other;
	uint64_t id;

	(void)arg;
	client_start(NULL);
	expect_region("vram0", 0, 0, 0);
	make_object_of(3, 1u << 1, 0);
	make_object_of(512, 1u << 1, 0);
	make_object_of(2, 1u << 0, 0);
	CHECK(!call(XE_GEM_CREATE, &deferred));
	expect_region("vram0", MIB(2) + KIB(12), MIB(2) + KIB(12), 0);
	expect_region("gtt", KIB(8), KIB(8), 0);
	expect_region("system", KIB(4), 0, 0);
	CHECK(strstr(tell(client.file), "\ndrm-total-vram0:\t2060 KiB\n"));
	/* Two of 8 MiB take all there is: the others' bytes are in the system's memory. */
	make_object_of(MIB(8) / PAGE_BYTES, 1u << 1, 0);
	make_object_of(MIB(8) / PAGE_BYTES, 1u << 1, 0);
	expect_region("vram0", MIB(16), MIB(16), 0);
	expect_region("system", MIB(2) + KIB(16), MIB(2) + KIB(12), 0);
	CHECK(told(client.file, "drm-purgeable-system") == MIB(2) + KIB(12));
	/* Each file has its own. */
	id = told(client.file, "drm-client-id");
	CHECK(!xe_file_open(client.card, &other));
	CHECK(told(other, "drm-client-id") != id && !told(other, "drm-total-vram0"));
	CHECK(xe_fdinfo_text(other, text, 40) <= 40);
	xe_file_close(other);
	client_stop();
}

static void objects_are_told_of_where_they_are(void **state)
{
	(void)state;
	run_client(memory, NULL);
}

/* A job of @queue that does not end before end_long_job(). */
static struct xe_sync start_long_job(uint32_t vm, uint32_t queue, uint32_t batch, bool binds)
{
	/* Back to the begin, as long as the word behind it is not what it will be. */
	const uint32_t commands[] = {
		0x18800101, (uint32_t)A, (uint32_t)(A >> 32), END_OF_BATCH,
	};
	struct xe_sync sync = signal_to(make_syncobj(0));
	struct xe_bind_op op = map_op(batch, A, 1);

	if (binds)
		CHECK(!bind_one(vm, &op, NULL, 0));
	memcpy(memory_of(batch), commands, sizeof(commands));
	CHECK(!exec_one(queue, A, &sync, 1));
	return sync;
}

static void end_long_job(uint32_t batch, const struct xe_sync *sync)
{
	ATOMIC_STORE(memory_of(batch), END_OF_BATCH);
	CHECK(!wait_syncobj((uint32_t)sync->handle, 0, 0, FOREVER));
}

static void engines(void *arg)
{
	uint32_t vm, queue, batch, own;
	struct xe_file *other;
	struct xe_sync sync;
	uint64_t cycles, used, total;

	(void)arg;
	client_start(NULL);
	CHECK(!xe_file_open(client.card, &other));
	vm = make_vm(0);
	queue = make_queue(vm, XE_ENGINE_COPY);
	batch = make_object(1);
	own = make_object_of(2, 1u << 0, vm);
	CHECK(own && !told(client.file, "drm-cycles-bcs"));
	sync = start_long_job(vm, queue, batch, true);
	expect_region("gtt", KIB(12), KIB(12), KIB(12));
	total = told(client.file, "drm-total-cycles-bcs");
	cycles = told(client.file, "drm-cycles-bcs");
	/* While it runs its time goes by, as all time does. */
	for (int i = 0; i < 50; i++)
		CHECK(told(client.file, "drm-cycles-bcs") >= cycles);
	used = told(client.file, "drm-cycles-bcs") - cycles;
	total = told(client.file, "drm-total-cycles-bcs") - total;
	CHECK(used && used <= total + 12); /* a clock that goes in steps of 12 */
	end_long_job(batch, &sync);
	expect_region("gtt", KIB(12), KIB(12), 0);
	cycles = told(client.file, "drm-cycles-bcs");
	CHECK(told(client.file, "drm-cycles-bcs") == cycles);
	CHECK(!destroy_queue(queue));
	CHECK(told(client.file, "drm-cycles-bcs") == cycles);
	CHECK(!told(client.file, "drm-cycles-rcs") && !told(client.file, "drm-cycles-ccs"));
	CHECK(!told(other, "drm-cycles-bcs"));
	xe_file_close(other);
	client_stop();
}

static void time_on_an_engine_is_the_queues_and_stays_told(void **state)
{
	struct sim_config config = sim_config_default(1);

	(void)state;
	config.step_ns = 1000;
	run_client_with(&config, engines, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_are_told_of_where_they_are),
		cmocka_unit_test(time_on_an_engine_is_the_queues_and_stays_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
