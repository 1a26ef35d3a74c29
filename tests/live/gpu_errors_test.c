/* SPDX-License-Identifier: MIT */
/*
 * GPU accesses that fail: to memory that is not there, that forbids them, or that the
 * device cannot serve.
 *
 * Each way that a GPU has to reach memory (enum way) is tried at each bad place. The
 * job ends with the errno of docs/errors.md, its queue says address and access, the
 * vm's list has the fault, later submits are refused; beside it another queue never
 * stops, and an area on the device stays where it is, as it is.
 */
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live/support/live.h"

#define MI_BATCH_BUFFER_END 0x05000000u
#define MI_STORE_DWORD_IMM 0x10000002u
#define MI_STORE_QWORD_IMM 0x10200003u
#define MI_ATOMIC_INC 0x17800501u
#define MI_ATOMIC_ADD_QWORD 0x178c2709u
#define MI_BATCH_BUFFER_START 0x18800101u
#define FAULTS_KEPT 50

/* --- ways ---------------- */

enum way {
	LOAD8,
	LOAD32,
	LOAD64,
	BULK_READ,
	BATCH_FETCH,
	STORE8,
	STORE32,
	STORE64,
	BULK_WRITE,
	BATCH_STORE,
	BATCH_STORE_QWORD,
	USER_FENCE,
	ATOMIC32,
	ATOMIC64,
	COMPARE_EXCHANGE,
	BATCH_ATOMIC,
	WAYS,
};

static const char *const way_names[WAYS] = {
	"load8",     "load32",	    "load64",  "bulk read",   "batch fetch", "store8",
	"store32",   "store64",	    "bulk write", "batch store", "batch store of a qword",
	"user fence", "atomic32",   "atomic64", "compare-exchange", "batch atomic",
};

static enum usvm_access access_of(enum way way)
{
	if (way <= BATCH_FETCH)
		return USVM_ACCESS_READ;
	return way <= USER_FENCE ? USVM_ACCESS_WRITE : USVM_ACCESS_ATOMIC;
}

struct reach {
	uint64_t at;
	enum way way;
};

static void reach(struct usvm_lane *lane, const void *args)
{
	const struct reach *a = args;
	unsigned char some[64] = { 0 };

	switch (a->way) {
	case LOAD8:
		usvm_load8(lane, a->at);
		break;
	case LOAD32:
		usvm_load32(lane, a->at);
		break;
	case LOAD64:
		usvm_load64(lane, a->at);
		break;
	case BULK_READ:
		usvm_read(lane, some, a->at, sizeof(some));
		break;
	case STORE8:
		usvm_store8(lane, a->at, 0xbb);
		break;
	case STORE32:
		usvm_store32(lane, a->at, 0xbbbbbbbb);
		break;
	case STORE64:
		usvm_store64(lane, a->at, 0xbbbbbbbb);
		break;
	case BULK_WRITE:
		usvm_write(lane, a->at, some, sizeof(some));
		break;
	case ATOMIC32:
		usvm_atomic_add32(lane, a->at, 1);
		break;
	case ATOMIC64:
		usvm_atomic_exchange64(lane, a->at, 1);
		break;
	case COMPARE_EXCHANGE:
		usvm_atomic_compare_exchange64(lane, a->at, 0, 1);
		break;
	default:
		break;
	}
}

/* One access on @queue: a kernel, or a batch. Return: the end of the job. */
static int reach_by(struct usvm_queue *queue, uint64_t at, enum way way)
{
	static uint32_t words[8];
	const struct reach args = { at, way };
	struct usvm_kernel kernel = { .function = reach, .args = &args,
				      .args_bytes = sizeof(args) };
	const uint32_t commands[WAYS][8] = {
		[BATCH_STORE] = { MI_STORE_DWORD_IMM, (uint32_t)at, (uint32_t)(at >> 32), 1,
				  MI_BATCH_BUFFER_END },
		[BATCH_STORE_QWORD] = { MI_STORE_QWORD_IMM, (uint32_t)at,
					(uint32_t)(at >> 32), 1, 2, MI_BATCH_BUFFER_END },
		[BATCH_ATOMIC] = { MI_ATOMIC_INC, (uint32_t)at, (uint32_t)(at >> 32),
				   MI_BATCH_BUFFER_END },
	};

	switch (way) {
	case BATCH_FETCH:
		return usvm_run_batch(queue, &(struct usvm_batch){ .commands = (void *)at });
	case BATCH_STORE:
	case BATCH_STORE_QWORD:
	case BATCH_ATOMIC:
		memcpy(words, commands[way], sizeof(words));
		return usvm_run_batch(queue, &(struct usvm_batch){ .commands = words });
	case USER_FENCE:
		kernel.user_fence = (void *)at;
		kernel.user_fence_value = 1;
		return usvm_run_kernel(queue, &kernel);
	default:
		return usvm_run_kernel(queue, &kernel);
	}
}

/* --- the scene ---------------- */

/* An area on the device, and a queue whose job runs until it is told to end. */
struct scene {
	struct live *live;
	unsigned char *at;
	size_t bytes;
	struct usvm_queue *busy;
	struct usvm_fence *fence;
	uint64_t rounds; /* the busy job's, when last looked at */
};

struct busy {
	uint64_t at, bytes, rounds, stop;
};

/* Adds 1 to a word of each page, counts its rounds. */
static void be_busy(struct usvm_lane *lane, const void *args)
{
	const struct busy *a = args;

	while (!usvm_load64(lane, a->stop)) {
		for (uint64_t i = 0; i < a->bytes; i += LIVE_PAGE)
			usvm_atomic_add64(lane, a->at + i, 1);
		usvm_atomic_add64(lane, a->rounds, 1);
	}
}

static void wait_for_progress(struct scene *s)
{
	uint64_t *rounds = s->live->result + 1;

	/* Two: the first may have begun before the call. */
	for (uint64_t end = s->rounds + 2; s->rounds < end;
	     s->rounds = __atomic_load_n(rounds, __ATOMIC_ACQUIRE))
		sched_yield();
}

static struct scene set_scene(struct live *live)
{
	struct scene s = { .live = live, .bytes = live_bytes(live) };
	struct busy args;

	s.at = live_on_device(live, s.bytes, 1);
	for (size_t i = 0; i < s.bytes; i += LIVE_PAGE)
		gpu_write64(live, s.at + i, 0);
	live->result[1] = live->result[2] = 0;
	args = (struct busy){ (uintptr_t)s.at, s.bytes, (uintptr_t)(live->result + 1),
			      (uintptr_t)(live->result + 2) };
	assert_int_equal(usvm_queue_create(live->vm, NULL, &s.busy), 0);
	assert_int_equal(usvm_submit_kernel(s.busy, &(struct usvm_kernel){
		.function = be_busy, .args = &args, .args_bytes = sizeof(args) }, &s.fence), 0);
	wait_for_progress(&s);
	live_assert_state(live, s.at, s.bytes, LIVE_DEVICE);
	return s;
}

static void clear_scene(struct scene *s)
{
	struct live *live = s->live;

	wait_for_progress(s);
	live_assert_state(live, s->at, s->bytes, LIVE_DEVICE);
	__atomic_store_n(live->result + 2, 1, __ATOMIC_RELEASE);
	gpu_finish(s->fence);
	assert_int_equal(usvm_queue_destroy(s->busy), 0);
	live_assert_state(live, s->at, s->bytes, LIVE_DEVICE);
	for (size_t i = 0; i < s->bytes; i += LIVE_PAGE) {
		assert_int_equal(*(volatile uint64_t *)(s->at + i), live->result[1]);
		*(uint64_t *)(s->at + i) = live_word(1, i / 8);
	}
	live_assert_filled(s->at, s->bytes, 1, 0);
}

static void last_fault(struct usvm_vm *vm, struct usvm_fault *fault, size_t *count)
{
	struct usvm_fault faults[FAULTS_KEPT] = { 0 };

	assert_int_equal(usvm_faults(vm, faults, FAULTS_KEPT, count), 0);
	assert_in_range(*count, 0, FAULTS_KEPT);
	*fault = *count ? faults[*count - 1] : (struct usvm_fault){ 0 };
}

static void assert_fault(const struct usvm_fault *f, uint64_t at, uint32_t access, int error,
			 uint64_t after_ns, const char *what)
{
	if (f->addr != at || f->access != access || f->error != error)
		fail_msg("%s: tells address %#lx, access %u, error %d; not %#lx, %u, %d", what,
			 f->addr, f->access, f->error, at, access, error);
	assert_true(f->time_ns > after_ns);
}

/* @way at @at fails in @vm with @error, on a queue of its own, and all is told. */
static void assert_fails(struct live *live, struct usvm_vm *vm, uint64_t at, enum way way,
			 int error)
{
	struct usvm_queue_status status, later;
	uint64_t failed = live_stat(live, "usvm_faults_failed"), told = at;
	struct usvm_fence *fence = NULL;
	struct usvm_queue *queue;
	struct usvm_fault before, fault;
	char what[96];
	size_t count;
	int err;

	snprintf(what, sizeof(what), "%s at %#lx", way_names[way], at);
	/* Addresses in commands have 48 bits. */
	if (way == BATCH_STORE || way == BATCH_STORE_QWORD || way == BATCH_ATOMIC)
		told &= (1ull << 48) - 1;
	last_fault(vm, &before, &count);
	assert_int_equal(usvm_queue_create(vm, NULL, &queue), 0);
	assert_int_equal(usvm_queue_status(queue, &status), 0);
	assert_int_equal(status.banned | status.error, 0);
	err = reach_by(queue, at, way);
	if (err != error)
		fail_msg("%s: ended with %d (%s), not %d", what, err, usvm_strerror(err), error);

	assert_int_equal(usvm_queue_status(queue, &status), 0);
	assert_int_equal(status.banned, 1);
	assert_int_equal(status.error, error);
	assert_fault(&status.fault, told, access_of(way), error, before.time_ns, what);
	last_fault(vm, &fault, &count);
	assert_fault(&fault, told, access_of(way), error, before.time_ns, what);
	assert_int_equal(live_stat(live, "usvm_faults_failed"), failed + 1);

	assert_int_equal(reach_by(queue, (uintptr_t)live->result, LOAD64), -ECANCELED);
	assert_int_equal(usvm_submit_kernel(queue, &(struct usvm_kernel){
		.function = reach }, &fence), -ECANCELED);
	assert_null(fence);
	assert_int_equal(usvm_queue_status(queue, &later), 0);
	assert_memory_equal(&status, &later, sizeof(status));
	assert_int_equal(usvm_queue_destroy(queue), 0);
}

static void assert_all_fail(struct scene *s, uint64_t at, enum way first, int error)
{
	for (enum way way = first; way < WAYS; way++)
		assert_fails(s->live, s->live->vm, at, way, error);
	wait_for_progress(s);
}

/* --- places ---------------- */

static void unmapped_memory_ends_the_job(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	unsigned char *at = live_map(live, 4 * LIVE_PAGE);

	assert_int_equal(munmap(at + LIVE_PAGE, LIVE_PAGE), 0);
	live_assert_state(live, at + LIVE_PAGE, LIVE_PAGE, LIVE_UNMAPPED);
	assert_all_fail(&s, (uintptr_t)at + LIVE_PAGE, 0, -EFAULT);
	assert_all_fail(&s, (uintptr_t)at + 2 * LIVE_PAGE - 64, 0, -EFAULT);
	assert_all_fail(&s, 0x40, 0, -EFAULT);
	assert_all_fail(&s, LIVE_PAGE, 0, -EFAULT);
	clear_scene(&s);
}

static void memory_that_was_on_the_device_and_is_gone_ends_the_job(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	unsigned char *at = live_on_device(live, s.bytes, 2);

	assert_int_equal(munmap(at, s.bytes), 0);
	live_assert_state(live, at, s.bytes, LIVE_UNMAPPED);
	assert_all_fail(&s, (uintptr_t)at + s.bytes / 2, 0, -EFAULT);
	clear_scene(&s);
}

static void memory_without_rights_ends_the_job(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	unsigned char *at = live_on_device(live, s.bytes, 2);

	live_assert_filled(at, s.bytes, 2, 0);
	assert_int_equal(mprotect(at, s.bytes, PROT_NONE), 0);
	live_assert_state(live, at, s.bytes, LIVE_HOME);
	assert_all_fail(&s, (uintptr_t)at + LIVE_PAGE, 0, -EPERM);
	live_assert_state(live, at, s.bytes, LIVE_HOME);
	assert_int_equal(mprotect(at, s.bytes, PROT_READ | PROT_WRITE), 0);
	live_assert_filled(at, s.bytes, 2, 0);
	clear_scene(&s);
}

static void writes_to_read_only_memory_end_the_job(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	unsigned char *at = live_filled(live, s.bytes, 2);

	assert_int_equal(mprotect(at, s.bytes, PROT_READ), 0);
	live_assert_state(live, at, s.bytes, LIVE_HOME);
	assert_all_fail(&s, (uintptr_t)at + LIVE_PAGE, STORE8, -EPERM);
	/* The GPU may read it, and then it still may not write. */
	gpu_assert_filled(live, at, s.bytes, 2, 0);
	assert_all_fail(&s, (uintptr_t)at + LIVE_PAGE, STORE8, -EPERM);
	live_assert_filled(at, s.bytes, 2, 0);
	clear_scene(&s);
}

static void file_ends(struct live *live, int flags)
{
	struct scene s = set_scene(live);
	int fd = memfd_create("file", MFD_CLOEXEC);
	unsigned char *at;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, LIVE_PAGE), 0);
	at = mmap(NULL, 2 * LIVE_PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	live_fill(at, LIVE_PAGE, 2, 0);
	gpu_assert_filled(live, at, LIVE_PAGE, 2, 0);
	live_assert_state(live, at, LIVE_PAGE, LIVE_HOME);
	live_assert_state(live, at + LIVE_PAGE, LIVE_PAGE, LIVE_HOLE);
	assert_all_fail(&s, (uintptr_t)at + LIVE_PAGE + 64, 0, -EFAULT);
	/* A file that grows is there again. */
	assert_int_equal(ftruncate(fd, 2 * LIVE_PAGE), 0);
	assert_int_equal(gpu_read64(live, at + LIVE_PAGE), 0);
	/* One that shrinks under entries that the GPU has. */
	assert_int_equal(ftruncate(fd, LIVE_PAGE), 0);
	assert_all_fail(&s, (uintptr_t)at + LIVE_PAGE + 64, 0, -EFAULT);
	live_assert_filled(at, LIVE_PAGE, 2, 0);
	munmap(at, 2 * LIVE_PAGE);
	close(fd);
	clear_scene(&s);
}

static void memory_behind_a_files_end_ends_the_job(void **state)
{
	file_ends(*state, MAP_SHARED);
	file_ends(*state, MAP_PRIVATE);
}

static void addresses_that_no_process_has_end_the_job(void **state)
{
	struct scene s = set_scene(*state);
	const uint64_t places[] = {
		0xffff800000000000, /* the kernel's */
		0xffffffffff600000, /* vsyscall */
		UINT64_MAX - 63,
		1ull << 47,
		0x8000000000000000, /* not canonical */
		0x1234567812345678,
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		assert_all_fail(&s, places[i], 0, -EFAULT);
	clear_scene(&s);
}

/* An address with more bits is not the address without them. Commands have 48 bits. */
static void high_bits_of_an_address_count(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	unsigned char *at = live_on_device(live, s.bytes, 2);

	for (int bit = 47; bit < 64; bit++) {
		for (enum way way = 0; way < WAYS; way++) {
			bool is_command = way == BATCH_STORE || way == BATCH_STORE_QWORD ||
					  way == BATCH_ATOMIC;

			if (is_command && bit >= 48)
				continue;
			assert_fails(live, live->vm, (uintptr_t)at | 1ull << bit, way, -EFAULT);
		}
	}
	live_assert_state(live, at, s.bytes, LIVE_DEVICE);
	live_assert_filled(at, s.bytes, 2, 0);
	clear_scene(&s);
}

/* What comes before the bad page is done, what comes behind is not. */
static void copy_across(struct usvm_lane *lane, const void *args)
{
	const struct reach *a = args;
	unsigned char some[3 * LIVE_PAGE];

	memset(some, 0x77, sizeof(some));
	usvm_write(lane, a->at, some, sizeof(some));
}

static void a_bulk_write_ends_at_the_bad_page(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	unsigned char *at = live_on_device(live, 4 * LIVE_PAGE, 2);
	struct usvm_queue_status status;
	struct usvm_queue *queue;
	struct reach args = { (uintptr_t)at + 100, BULK_WRITE };

	assert_int_equal(munmap(at + 2 * LIVE_PAGE, LIVE_PAGE), 0);
	live_assert_state(live, at, 2 * LIVE_PAGE, LIVE_DEVICE);
	assert_int_equal(usvm_queue_create(live->vm, NULL, &queue), 0);
	assert_int_equal(usvm_run_kernel(queue, &(struct usvm_kernel){
		.function = copy_across, .args = &args, .args_bytes = sizeof(args) }), -EFAULT);
	assert_int_equal(usvm_queue_status(queue, &status), 0);
	assert_int_equal(status.fault.addr, (uintptr_t)at + 2 * LIVE_PAGE);
	assert_int_equal(status.fault.access, USVM_ACCESS_WRITE);
	assert_int_equal(usvm_queue_destroy(queue), 0);
	live_assert_filled(at, 96, 2, 0);
	assert_int_equal(at[99], ((const unsigned char *)(const uint64_t[]){
					 live_word(2, 12) })[3]);
	for (size_t i = 100; i < 2 * LIVE_PAGE; i++)
		assert_int_equal(at[i], 0x77);
	live_assert_filled(at + 3 * LIVE_PAGE, LIVE_PAGE, 2, 3 * LIVE_PAGE);
	clear_scene(&s);
}

/* --- vms that do not mirror everything ---------------- */

static void a_read_only_vm_reads(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	unsigned char *at = live_filled(live, s.bytes, 2);
	struct live other = *live;
	struct reach args = { (uintptr_t)at, LOAD64 };

	assert_int_equal(usvm_vm_create(live->gpu, &(struct usvm_vm_config){
		.flags = USVM_VM_READ_ONLY }, &other.vm), 0);
	assert_int_equal(usvm_queue_create(other.vm, NULL, &other.queue), 0);
	for (size_t i = 0; i < s.bytes; i += LIVE_PAGE) {
		args.at = (uintptr_t)at + i;
		assert_int_equal(usvm_run_kernel(other.queue, &(struct usvm_kernel){
			.function = reach, .args = &args, .args_bytes = sizeof(args) }), 0);
	}
	live_assert_state(&other, at, s.bytes, LIVE_DEVICE);
	for (enum way way = STORE8; way < WAYS; way++)
		assert_fails(live, other.vm, (uintptr_t)at + 64, way, -EPERM);
	live_assert_state(&other, at, s.bytes, LIVE_DEVICE);
	/* The other vm may write the same pages, and this one reads what it wrote. */
	gpu_fill(live, at, s.bytes, 3, 0);
	live_assert_state(&other, at, s.bytes, LIVE_DEVICE);
	assert_fails(live, other.vm, (uintptr_t)at + 64, STORE64, -EPERM);
	live_assert_filled(at, s.bytes, 3, 0);
	assert_int_equal(usvm_queue_destroy(other.queue), 0);
	assert_int_equal(usvm_vm_destroy(other.vm), 0);
	clear_scene(&s);
}

static void a_vm_reaches_what_it_mirrors(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	size_t bytes = s.bytes, half = s.bytes / 2;
	unsigned char *at = live_filled(live, bytes, 2);
	struct live other = *live;

	assert_int_equal(usvm_vm_create(live->gpu, &(struct usvm_vm_config){
		.flags = USVM_VM_NO_MIRROR }, &other.vm), 0);
	for (enum way way = LOAD8; way < BATCH_STORE; way++)
		assert_fails(live, other.vm, (uintptr_t)at, way, -EFAULT);
	live_assert_state(&other, at, bytes, LIVE_HOME);

	assert_int_equal(usvm_vm_mirror(other.vm, live->result, LIVE_PAGE, 0), 0);
	assert_int_equal(usvm_vm_mirror(other.vm, at, half, 0), 0);
	assert_int_equal(usvm_queue_create(other.vm, NULL, &other.queue), 0);
	live_take(&other, at, half);
	live_assert_state(&other, at, half, LIVE_DEVICE);
	live_assert_state(&other, at + half, half, LIVE_HOME);
	assert_fails(live, other.vm, (uintptr_t)at + half, LOAD64, -EFAULT);

	assert_int_equal(usvm_vm_mirror(other.vm, at + half, half, USVM_VM_READ_ONLY), 0);
	gpu_assert_filled(&other, at, bytes, 2, 0);
	live_assert_state(&other, at, bytes, LIVE_DEVICE);
	assert_fails(live, other.vm, (uintptr_t)at + half, STORE64, -EPERM);
	assert_int_equal(usvm_vm_unmirror(other.vm, at, half), -EBUSY);
	assert_int_equal(usvm_vm_unmirror(other.vm, at, bytes), -ENOENT);

	/* Without ranges it can go; then nothing is reached. */
	assert_int_equal(munmap(at, half), 0);
	assert_int_equal(usvm_vm_unmirror(other.vm, at, half), 0);
	assert_int_equal(usvm_vm_unmirror(other.vm, at, half), -ENOENT);
	gpu_assert_filled(&other, at + half, half, 2, half);
	live_assert_filled(at + half, half, 2, half);
	assert_int_equal(usvm_queue_destroy(other.queue), 0);
	assert_int_equal(usvm_vm_destroy(other.vm), 0);
	clear_scene(&s);
}

/* --- batches ---------------- */

/* The batch ends with @error, and the queue tells the place of command @at. */
static void assert_bad_batch(struct scene *s, const uint32_t *commands, uint32_t at, int error)
{
	struct usvm_queue_status status;
	struct usvm_queue *queue;
	size_t before, count;

	assert_int_equal(usvm_faults(s->live->vm, NULL, 0, &before), 0);
	assert_int_equal(usvm_queue_create(s->live->vm, NULL, &queue), 0);
	assert_int_equal(usvm_run_batch(queue, &(struct usvm_batch){
		.commands = commands, .user_fence = s->live->result + 3,
		.user_fence_value = 1 }), error);
	assert_int_equal(usvm_queue_status(queue, &status), 0);
	assert_int_equal(status.banned, 1);
	assert_int_equal(status.error, error);
	assert_int_equal(status.fault.addr, (uintptr_t)(commands + at));
	assert_int_equal(status.fault.error, error);
	assert_int_equal(s->live->result[3], 0);
	/* No page was asked for that could not be had. */
	assert_int_equal(usvm_faults(s->live->vm, NULL, 0, &count), 0);
	assert_int_equal(count, before);
	assert_int_equal(usvm_queue_destroy(queue), 0);
	wait_for_progress(s);
}

static void unknown_commands_are_refused(void **state)
{
	static const uint32_t bad[] = {
		0x18000000,	       /* an MI opcode that is not modelled */
		0x1fffffff,	       /* the last one */
		0x50000000,	       /* the blitter */
		0x7b000005,	       /* 3DPRIMITIVE */
		0xffffffff,
		MI_STORE_DWORD_IMM | 1u << 22, /* global GTT */
		MI_STORE_DWORD_IMM & ~3u,      /* too short */
		MI_BATCH_BUFFER_START | 1u << 15, /* predicated */
		MI_ATOMIC_INC | 1u << 16,      /* returns its value to a register */
		MI_ATOMIC_ADD_QWORD & ~0x2000u, /* a dword operation on a qword */
	};
	struct live *live = *state;
	struct scene s = set_scene(live);

	live->result[3] = 0;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t at = (uintptr_t)(live->result + 8);
		uint32_t commands[16] = { MI_STORE_DWORD_IMM, (uint32_t)at,
					  (uint32_t)(at >> 32), (uint32_t)i + 1, bad[i],
					  (uint32_t)at, (uint32_t)(at >> 32), 77,
					  [15] = MI_BATCH_BUFFER_END };

		assert_bad_batch(&s, commands, 4, -EINVAL);
		/* What stood before it was done, the bad one was not. */
		assert_int_equal(live->result[8], i + 1);
	}
	clear_scene(&s);
}

static void a_batch_without_an_end_ends(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	size_t bytes = 6ul << 20; /* zeros are MI_NOOP; more than 2^20 of them */
	unsigned char *at = live_map(live, bytes);

	live->result[3] = 0;
	memset(at, 0, bytes);
	live_assert_state(live, at, bytes, LIVE_HOME);
	assert_bad_batch(&s, (uint32_t *)(void *)at, 1 << 20, -EPROTO);
	live_assert_state(live, at, LIVE_HUGE, LIVE_DEVICE);
	clear_scene(&s);
}

static void an_endless_batch_ends_with_its_queue(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	unsigned char *at = live_filled(live, live_bytes(live), 2);
	uint32_t *words = (uint32_t *)(void *)at;
	uint64_t counter = (uintptr_t)(live->result + 4);
	struct usvm_fence *fence, *waiting;
	struct usvm_queue *queue;

	live->result[4] = 0;
	words[0] = MI_ATOMIC_INC;
	words[1] = (uint32_t)counter;
	words[2] = (uint32_t)(counter >> 32);
	words[3] = MI_BATCH_BUFFER_START;
	words[4] = (uint32_t)(uintptr_t)words;
	words[5] = (uint32_t)((uintptr_t)words >> 32);
	assert_int_equal(usvm_queue_create(live->vm, NULL, &queue), 0);
	assert_int_equal(usvm_submit_batch(queue, &(struct usvm_batch){
		.commands = words }, &fence), 0);
	assert_int_equal(usvm_submit_batch(queue, &(struct usvm_batch){
		.commands = words }, &waiting), 0);
	while (__atomic_load_n(live->result + 4, __ATOMIC_ACQUIRE) < 1000)
		sched_yield();
	live_assert_state(live, at, LIVE_PAGE, LIVE_DEVICE);
	assert_int_equal(usvm_fence_wait(fence, 0), -ETIMEDOUT);
	assert_int_equal(usvm_fence_wait(fence, 1000000), -ETIMEDOUT);
	assert_int_equal(usvm_fence_wait(waiting, 0), -ETIMEDOUT);
	wait_for_progress(&s);
	assert_int_equal(usvm_queue_destroy(queue), 0);
	assert_int_equal(usvm_fence_wait(fence, USVM_FOREVER), -ECANCELED);
	assert_int_equal(usvm_fence_wait(waiting, USVM_FOREVER), -ECANCELED);
	usvm_fence_put(fence);
	usvm_fence_put(waiting);
	clear_scene(&s);
}

/* --- the rest ---------------- */

static void a_misaligned_atomic_is_refused(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	unsigned char *at = live_on_device(live, live_bytes(live), 2);
	struct reach args = { (uintptr_t)at + 4, ATOMIC64 };
	struct usvm_queue_status status;
	struct usvm_queue *queue;

	assert_int_equal(usvm_queue_create(live->vm, NULL, &queue), 0);
	assert_int_equal(usvm_run_kernel(queue, &(struct usvm_kernel){
		.function = reach, .args = &args, .args_bytes = sizeof(args) }), -EINVAL);
	assert_int_equal(usvm_queue_status(queue, &status), 0);
	assert_int_equal(status.error, -EINVAL);
	assert_int_equal(status.fault.addr, args.at);
	assert_int_equal(status.fault.access, USVM_ACCESS_ATOMIC);
	assert_int_equal(usvm_queue_destroy(queue), 0);
	live_assert_state(live, at, live_bytes(live), LIVE_DEVICE);
	live_assert_filled(at, live_bytes(live), 2, 0);
	clear_scene(&s);
}

static void later_jobs_of_the_queue_are_cancelled(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	struct usvm_kernel bad = { .function = reach,
				   .args = &(struct reach){ 0x40, STORE64 },
				   .args_bytes = sizeof(struct reach) };
	struct busy spin = { (uintptr_t)(live->result + 4), LIVE_PAGE,
			     (uintptr_t)(live->result + 4), (uintptr_t)(live->result + 5) };
	struct usvm_fence *fences[10];
	struct usvm_queue *queue;

	live->result[5] = 0;
	assert_int_equal(usvm_queue_create(live->vm, NULL, &queue), 0);
	/* The first holds the queue until all are submitted. */
	assert_int_equal(usvm_submit_kernel(queue, &(struct usvm_kernel){
		.function = be_busy, .args = &spin, .args_bytes = sizeof(spin) },
		&fences[0]), 0);
	for (int i = 1; i < 10; i++)
		assert_int_equal(usvm_submit_kernel(queue, &bad, &fences[i]), 0);
	__atomic_store_n(live->result + 5, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(usvm_fence_wait(fences[i], USVM_FOREVER),
				 i == 0 ? 0 : i == 1 ? -EFAULT : -ECANCELED);
		usvm_fence_put(fences[i]);
	}
	assert_int_equal(usvm_queue_destroy(queue), 0);
	clear_scene(&s);
}

static void the_last_50_faults_are_kept(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	unsigned char *at = live_map(live, 60 * LIVE_PAGE);
	struct usvm_fault faults[60];
	struct usvm_fault fault;
	size_t count;

	assert_int_equal(munmap(at, 60 * LIVE_PAGE), 0);
	for (int i = 0; i < 60; i++) {
		assert_int_equal(gpu_try(live, i % 3, at + i * LIVE_PAGE, &fault), -EFAULT);
		assert_int_equal(usvm_faults(live->vm, NULL, 0, &count), 0);
		assert_int_equal(count, i < FAULTS_KEPT ? i + 1 : FAULTS_KEPT);
	}
	memset(faults, 0x77, sizeof(faults));
	assert_int_equal(usvm_faults(live->vm, faults, 60, &count), 0);
	assert_int_equal(count, FAULTS_KEPT);
	for (int i = 0; i < FAULTS_KEPT; i++) {
		assert_int_equal(faults[i].addr, (uintptr_t)at + (i + 10) * LIVE_PAGE);
		assert_int_equal(faults[i].access, (i + 10) % 3);
		assert_int_equal(faults[i].error, -EFAULT);
		assert_true(!i || faults[i].time_ns >= faults[i - 1].time_ns);
	}
	assert_int_equal(faults[FAULTS_KEPT].access, 0x77777777);
	/* No more than asked for. */
	memset(faults, 0x77, sizeof(faults));
	assert_int_equal(usvm_faults(live->vm, faults, 3, &count), 0);
	assert_int_equal(faults[2].addr, (uintptr_t)at + 12 * LIVE_PAGE);
	assert_int_equal(faults[3].access, 0x77777777);
	clear_scene(&s);
}

/* A device that cannot do atomics on memory of the process. */
static void only_device_memory_serves_some_atomics(void **state)
{
	const struct live_param *param = *state;
	static const enum way atomics[] = { ATOMIC32, ATOMIC64, COMPARE_EXCHANGE,
					    BATCH_ATOMIC };
	char spec[64];
	struct live live = { 0 };
	struct scene s;
	int fd = memfd_create("file", MFD_CLOEXEC);
	unsigned char *at, *locked;

	live_guard(param->spec, 20);
	snprintf(spec, sizeof(spec), "%s,system_atomics=no", param->spec);
	live_open(&live, param, spec);
	assert_int_equal(ftruncate(fd, LIVE_PAGE), 0);
	at = mmap(NULL, LIVE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	live_fill(at, LIVE_PAGE, 2, 0);
	live_assert_state(&live, at, LIVE_PAGE, LIVE_HOME);
	locked = live_filled(&live, LIVE_HUGE, 2);
	assert_int_equal(syscall(SYS_mlock, locked, LIVE_HUGE), 0); /* ASan has none */

	s.bytes = live_bytes(&live);
	s.at = live_on_device(&live, s.bytes, 1); /* by atomics */
	for (size_t i = 0; i < sizeof(atomics) / sizeof(atomics[0]); i++) {
		assert_fails(&live, live.vm, (uintptr_t)at + 64, atomics[i], -EACCES);
		assert_fails(&live, live.vm, (uintptr_t)locked + 64, atomics[i], -EACCES);
	}
	gpu_assert_filled(&live, at, LIVE_PAGE, 2, 0);
	gpu_fill(&live, at, LIVE_PAGE, 3, 0);
	for (size_t i = 0; i < sizeof(atomics) / sizeof(atomics[0]); i++)
		assert_fails(&live, live.vm, (uintptr_t)at + 64, atomics[i], -EACCES);
	live_assert_filled(at, LIVE_PAGE, 3, 0);
	live_assert_filled(locked, LIVE_HUGE, 2, 0);
	live_assert_state(&live, s.at, s.bytes, LIVE_DEVICE);
	gpu_assert_filled(&live, s.at, s.bytes, 1, 0);
	munmap(locked, LIVE_HUGE);
	munmap(at, LIVE_PAGE);
	close(fd);
	live_close(&live);
	live_guard(NULL, 0);
}

#define ENTRY_ALONE(f, what, param) { #f what, f, NULL, NULL, (void *)(uintptr_t)(param) }

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_ALL(unmapped_memory_ends_the_job),
		LIVE_TEST_ALL(memory_that_was_on_the_device_and_is_gone_ends_the_job),
		LIVE_TEST_ALL(memory_without_rights_ends_the_job),
		LIVE_TEST_ALL(writes_to_read_only_memory_end_the_job),
		LIVE_TEST_MODES(memory_behind_a_files_end_ends_the_job),
		LIVE_TEST_MODES(addresses_that_no_process_has_end_the_job),
		LIVE_TEST_ALL(high_bits_of_an_address_count),
		LIVE_TEST_MODES(a_bulk_write_ends_at_the_bad_page),
		LIVE_TEST_ALL(a_read_only_vm_reads),
		LIVE_TEST_ALL(a_vm_reaches_what_it_mirrors),
		LIVE_TEST_MODES(unknown_commands_are_refused),
		LIVE_TEST_ALL(a_batch_without_an_end_ends),
		LIVE_TEST_MODES(an_endless_batch_ends_with_its_queue),
		LIVE_TEST_MODES(a_misaligned_atomic_is_refused),
		LIVE_TEST_MODES(later_jobs_of_the_queue_are_cancelled),
		LIVE_TEST_MODES(the_last_50_faults_are_kept),
		ENTRY_ALONE(only_device_memory_serves_some_atomics, " [move]", &live_move),
		ENTRY_ALONE(only_device_memory_serves_some_atomics, " [copy]", &live_copy),
	};

	return LIVE_RUN(tests);
}
