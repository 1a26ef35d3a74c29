/* SPDX-License-Identifier: MIT */
/* exec_test.c - jobs of a client: what they store, wait for, signal, and how they fail. */
#include "xe_fixture.h"

#define SVM (XE_VM_LR_MODE | XE_VM_FAULT_MODE)

struct svm {
	uint32_t vm, queue;
	uint64_t data; /* batch at 0, what it stores at 256, fences at 512 */
};

static struct svm start_svm(void)
{
	const struct xe_bind_op op = mirror_op();
	struct xe_sync sync;
	struct svm s;

	client_start(NULL);
	s.data = map_pages(1);
	s.vm = make_vm(SVM);
	sync = user_fence(s.data + 512, 7);
	CHECK(!bind_one(s.vm, &op, &sync, 1));
	CHECK(!wait_user_fence(s.data + 512, 7, 0, 0));
	s.queue = make_queue(s.vm, XE_ENGINE_COPY);
	return s;
}

static void store(void *arg)
{
	struct svm s = start_svm();
	struct xe_sync sync = user_fence(s.data + 520, 9);

	(void)arg;
	write_store(s.data, s.data + 256, 42);
	CHECK(!exec_one(s.queue, s.data, &sync, 1));
	CHECK(!wait_user_fence(s.data + 520, 9, s.queue, FOREVER));
	CHECK(load(s.data + 256) == 42);
	CHECK(!destroy_queue(s.queue));
	CHECK(!destroy_vm(s.vm));
	client_stop();
}

static void a_job_stores_to_the_process_and_its_user_fence_tells(void **state)
{
	(void)state;
	run_client(store, NULL);
}

static void fault(void *arg)
{
	struct svm s = start_svm();
	struct xe_sync sync = user_fence(s.data + 520, 9);
	struct xe_exec_queue_property ban = { .queue = s.queue };
	struct xe_vm_get_property faults = { .vm = s.vm };
	struct xe_vm_fault record;

	(void)arg;
	write_store(s.data, 0x1000, 42); /* nothing is there */
	CHECK(!call(XE_EXEC_QUEUE_GET_PROPERTY, &ban) && !ban.value);
	CHECK(!exec_one(s.queue, s.data, &sync, 1));
	CHECK(wait_user_fence(s.data + 520, 9, s.queue, FOREVER) == -EIO);
	CHECK(wait_user_fence(s.data + 520, 9, 0, 0) == -ETIME);
	CHECK(exec_one(s.queue, s.data, &sync, 1) == -ECANCELED);
	CHECK(!call(XE_EXEC_QUEUE_GET_PROPERTY, &ban) && ban.value == 1);

	CHECK(!call(XE_VM_GET_PROPERTY, &faults) && faults.bytes == sizeof(record));
	faults.data = client.page + 2048;
	CHECK(!call(XE_VM_GET_PROPERTY, &faults));
	read_words(client.page + 2048, &record, sizeof(record));
	CHECK(record.addr == 0x1000 && record.access == 1 && record.type == 0);
	faults.bytes = sizeof(record) * 2;
	CHECK(call(XE_VM_GET_PROPERTY, &faults) == -EINVAL);
	client_stop();
}

static void a_job_that_faults_bans_its_queue_and_is_recorded(void **state)
{
	(void)state;
	run_client(fault, NULL);
}

static void order(void *arg)
{
	struct svm s = start_svm();
	uint32_t gate = make_syncobj(0), other = make_queue(s.vm, XE_ENGINE_RENDER);
	struct xe_sync syncs[2] = {
		{ .type = XE_SYNC_TIMELINE, .handle = gate, .value = 5 },
		user_fence(s.data + 520, 9),
	};
	struct xe_sync behind = user_fence(s.data + 528, 9);
	struct xe_sync beside = user_fence(s.data + 536, 9);
	const uint64_t arrays[2] = { gate, 5 };
	struct drm_syncobj_timeline_array signal = { .count = 1 };

	(void)arg;
	write_store(s.data, s.data + 256, 42);
	/* Nobody has promised point 5 yet. */
	CHECK(exec_one(s.queue, s.data, syncs, 2) == -EINVAL);
	CHECK(!load(s.data + 520));
	signal.handles = put_array(arrays, sizeof(arrays));
	signal.points = signal.handles + 8;
	CHECK(!call(DRM_SYNCOBJ_TIMELINE_SIGNAL, &signal));
	CHECK(!exec_one(s.queue, s.data, syncs, 2));
	CHECK(!exec_one(s.queue, s.data, &behind, 1));
	CHECK(!exec_one(other, s.data, &beside, 1));
	CHECK(!wait_user_fence(s.data + 520, 9, s.queue, FOREVER));
	CHECK(!wait_user_fence(s.data + 528, 9, s.queue, FOREVER));
	CHECK(!wait_user_fence(s.data + 536, 9, other, FOREVER));
	client_stop();
}

static void a_job_waits_for_points_that_were_promised_only(void **state)
{
	(void)state;
	run_client(order, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_job_stores_to_the_process_and_its_user_fence_tells),
		cmocka_unit_test(a_job_that_faults_bans_its_queue_and_is_recorded),
		cmocka_unit_test(a_job_waits_for_points_that_were_promised_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
