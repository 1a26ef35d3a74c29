/* SPDX-License-Identifier: MIT */
/*
 * DOC: the checks
 *
 * What a program may rely on, whatever the device is. Before each act a check asks
 * where the pages are, so that it is not content with memory that never moved.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "checks.h"

#define SPAN_BYTES (64 * PAGE_BYTES)

static uint64_t pattern(uint64_t i)
{
	return (i + 1) * 0x9E3779B97F4A7C15u;
}

static uint64_t *word(void *memory, size_t page)
{
	return (uint64_t *)(void *)((char *)memory + page * PAGE_BYTES);
}

/* Pages of malloc's that nothing else is in, so that only the check touches them. */
static void *malloc_pages(size_t bytes)
{
	void *memory = aligned_alloc(PAGE_BYTES, bytes + CONFORMANCE_GAP);

	if (!memory)
		exit(1);
	memset(memory, 0, bytes);
	return memory;
}

static void attaches_once_and_detaches(struct conformance *run)
{
	CHECK(run, run->account->attaches == 1, "attach() once at open");
	CHECK(run, run->account->vm_creates == 1, "vm_create() once for a vm");
	CHECK(run, run->account->detaches == 0, "detach() before close");
	conformance_close(run);
	CHECK(run, run->account->vm_destroys == 1, "vm_destroy() once");
	CHECK(run, run->account->detaches == 1, "detach() once at close");
}

static void fault_is_answered(struct conformance *run)
{
	uint64_t *memory = malloc_pages(SPAN_BYTES);

	CHECK(run, run->account->faults == 0, "a fault before any access");
	conformance_load(run, memory);
	CHECK(run, run->account->faults > 0,
	      "the access of a page never seen did not fault");
	CHECK(run, run->account->answers == run->account->faults,
	      "a fault without an answer");
	CHECK(run, run->account->errors == 0, "an error for memory that is there");
	CHECK(run, !run->info.migrates || run->account->vram_maps > 0,
	      "no page-table entry names device memory");
	free(memory);
}

static void device_write_is_seen_by_cpu(struct conformance *run)
{
	void *memory = malloc_pages(SPAN_BYTES);

	for (size_t i = 0; i < SPAN_BYTES / PAGE_BYTES; i++)
		conformance_store(run, word(memory, i), pattern(i));
	CHECK(run, conformance_is_at(run, memory, SPAN_BYTES, USVM_PAGE_DEVICE),
	      "not on the device after its stores");
	for (size_t i = 0; i < SPAN_BYTES / PAGE_BYTES; i++)
		CHECK(run, *word(memory, i) == pattern(i),
		      "the CPU reads something else");
	CHECK(run, conformance_is_at(run, memory, SPAN_BYTES, USVM_PAGE_HOME),
	      "not at home after the CPU's reads");
	free(memory);
}

static void cpu_write_is_seen_by_device(struct conformance *run)
{
	uint64_t *memory = malloc_pages(SPAN_BYTES);

	for (uint64_t i = 0; i < 50; i++) {
		*(volatile uint64_t *)memory = pattern(i);
		CHECK(run, conformance_load(run, memory) == pattern(i),
		      "the device reads something else");
		CHECK(run, conformance_is_at(run, memory, PAGE_BYTES, USVM_PAGE_DEVICE),
		      "not on the device after its load");
	}
	free(memory);
}

static void every_byte_travels(struct conformance *run)
{
	const size_t words = SPAN_BYTES / sizeof(uint64_t), page_words = PAGE_BYTES / 8;
	uint64_t *memory = conformance_map(SPAN_BYTES);

	for (size_t i = 0; i < words; i++)
		memory[i] = pattern(i);
	for (size_t i = page_words - 1; i < words; i += page_words) {
		size_t middle = i - i * 7 % page_words;

		CHECK(run, conformance_load(run, &memory[i]) == pattern(i),
		      "the device reads something else at the end of a page");
		CHECK(run, conformance_load(run, &memory[middle]) == pattern(middle),
		      "the device reads something else inside a page");
	}
	CHECK(run, conformance_is_at(run, memory, SPAN_BYTES, USVM_PAGE_DEVICE),
	      "not on the device after its loads");
	for (size_t i = 0; i < words; i++)
		CHECK(run, memory[i] == pattern(i), "the CPU reads something else");
	munmap(memory, SPAN_BYTES);
}

static void query_names_the_device(struct conformance *run)
{
	char *memory = conformance_map(SPAN_BYTES);
	struct usvm_page_info page;
	int err;

	memset(memory, 1, SPAN_BYTES);
	conformance_store(run, memory, 2);
	err = usvm_query(run->vm, memory, &page);
	CHECK(run, !err && page.state == USVM_PAGE_DEVICE, "the page is not DEVICE");
	CHECK(run, strcmp(page.device, run->info.name) == 0, "another device's name");
	CHECK(run, page.vram_offset < run->info.vram_bytes, "beyond device memory");
	CHECK(run, (page.mapped & 3) == 3, "no writable entry after a store");
	CHECK(run, page.run_bytes >= PAGE_BYTES, "a run of less than the page");
	err = usvm_device_info(run->device, &run->info);
	CHECK(run, !err && run->info.vram_used_bytes >= PAGE_BYTES,
	      "no device memory in use");
	CHECK(run, memory[PAGE_BYTES] == 1, "a neighbour changed");
	munmap(memory, SPAN_BYTES);
}

static void untouched_memory_is_zero(struct conformance *run)
{
	void *memory = conformance_map(SPAN_BYTES);

	CHECK(run, conformance_load(run, word(memory, 3)) == 0, "not zero on the device");
	conformance_store(run, word(memory, 5), 7);
	CHECK(run, *word(memory, 5) == 7, "a store into a hole is lost");
	CHECK(run, *word(memory, 4) == 0, "a hole beside it is not zero");
	munmap(memory, SPAN_BYTES);
}

static void prefetched_memory_does_not_fault(struct conformance *run)
{
	void *memory = conformance_map(SPAN_BYTES);
	uint64_t faults;

	memset(memory, 3, SPAN_BYTES);
	CHECK(run, !usvm_prefetch(run->vm, memory, SPAN_BYTES, USVM_PLACE_DEVICE),
	      "prefetch failed");
	CHECK(run, conformance_is_at(run, memory, SPAN_BYTES, USVM_PAGE_DEVICE),
	      "not on the device after a prefetch");
	faults = run->account->faults;
	CHECK(run, conformance_load(run, word(memory, 9)) == 0x0303030303030303u,
	      "the device reads something else");
	CHECK(run, run->account->faults == faults, "a fault after a prefetch");
	munmap(memory, SPAN_BYTES);
}

static void read_only_memory_refuses_writes(struct conformance *run)
{
	uint64_t *memory = conformance_map(SPAN_BYTES);
	uint64_t value = 9;
	int err;

	*word(memory, 1) = 5;
	mprotect(memory, SPAN_BYTES, PROT_READ);
	CHECK(run, conformance_load(run, word(memory, 1)) == 5,
	      "the device reads something else");
	err = conformance_access(run, CONFORMANCE_STORE, (uintptr_t)word(memory, 1),
				 &value);
	CHECK(run, err == -EPERM || err == -EFAULT,
	      "a store to read-only memory succeeded");
	CHECK(run,
	      run->access->fault_addr / PAGE_BYTES ==
		      (uintptr_t)word(memory, 1) / PAGE_BYTES,
	      "another address was told");
	CHECK(run, *word(memory, 1) == 5, "read-only memory changed");
	CHECK(run, conformance_load(run, word(memory, 1)) == 5,
	      "no load after the failed store");

	mprotect(memory, SPAN_BYTES, PROT_READ | PROT_WRITE);
	conformance_store(run, word(memory, 1), 6);
	CHECK(run, *word(memory, 1) == 6, "no store after writes were allowed");
	munmap(memory, SPAN_BYTES);
}

/* The page is on the device and may be written by the CPU, but not in this vm. */
static void read_only_vm_refuses_writes(struct conformance *run)
{
	uint64_t *memory = conformance_map(PAGE_BYTES), value = 9;
	int err;

	*memory = 5;
	conformance_vm_destroy(run);
	if (conformance_vm_create(run, USVM_VM_READ_ONLY)) {
		CHECK(run, false, "no vm for reading");
		return;
	}
	CHECK(run, conformance_load(run, memory) == 5, "the device reads something else");
	CHECK(run, conformance_is_at(run, memory, PAGE_BYTES, USVM_PAGE_DEVICE),
	      "not on the device after its load");
	err = conformance_access(run, CONFORMANCE_STORE, (uintptr_t)memory, &value);
	CHECK(run, err == -EPERM, "a store in a vm for reading succeeded");
	err = conformance_access(run, CONFORMANCE_ADD, (uintptr_t)memory, &value);
	CHECK(run, err == -EPERM, "an atomic in a vm for reading succeeded");
	CHECK(run, run->access->fault_addr / PAGE_BYTES == (uintptr_t)memory / PAGE_BYTES,
	      "another address was told");
	CHECK(run, *memory == 5, "the memory changed");
	munmap(memory, PAGE_BYTES);
}

static void expect_fault(struct conformance *run, const void *at, int error,
			 const char *text)
{
	uint64_t value = 0;
	int err = conformance_access(run, CONFORMANCE_LOAD, (uintptr_t)at, &value);

	CHECK(run, err == error, text);
	CHECK(run, run->access->fault_addr / PAGE_BYTES == (uintptr_t)at / PAGE_BYTES,
	      "another address was told");
}

static void unmapped_memory_faults(struct conformance *run)
{
	void *memory = conformance_map(SPAN_BYTES),
	     *forbidden = conformance_map(SPAN_BYTES);

	conformance_store(run, memory, 1);
	munmap(memory, SPAN_BYTES);
	mprotect(forbidden, SPAN_BYTES, PROT_NONE);
	expect_fault(run, memory, -EFAULT, "unmapped memory is no -EFAULT");
	expect_fault(run, forbidden, -EPERM, "PROT_NONE memory is no -EPERM");
	expect_fault(run, (void *)8, -EFAULT, "a null pointer is no -EFAULT");

	mprotect(forbidden, SPAN_BYTES, PROT_READ | PROT_WRITE);
	conformance_store(run, forbidden, 4);
	CHECK(run, *word(forbidden, 0) == 4, "no store after failed loads");
	munmap(forbidden, SPAN_BYTES);
}

static void reused_address_is_zero(struct conformance *run)
{
	void *memory = conformance_map(SPAN_BYTES), *again;

	for (int i = 0; i < 20; i++) {
		conformance_store(run, word(memory, 2), pattern(2));
		CHECK(run,
		      conformance_is_at(run, word(memory, 2), PAGE_BYTES,
					USVM_PAGE_DEVICE),
		      "not on the device after its store");
		munmap(memory, SPAN_BYTES);
		again = mmap(memory, SPAN_BYTES, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		CHECK(run, again == memory, "the address is in use");
		if (again != memory)
			return;
		CHECK(run, conformance_load(run, word(memory, 2)) == 0,
		      "the device reads what was unmapped");
		CHECK(run, *word(memory, 2) == 0, "the CPU reads what was unmapped");
	}
	munmap(memory, SPAN_BYTES);
}

static void discarded_memory_is_zero(struct conformance *run)
{
	void *memory = conformance_map(SPAN_BYTES);

	for (int i = 0; i < 20; i++) {
		conformance_store(run, word(memory, 2), pattern(2));
		CHECK(run,
		      conformance_is_at(run, word(memory, 2), PAGE_BYTES,
					USVM_PAGE_DEVICE),
		      "not on the device after its store");
		madvise(memory, SPAN_BYTES, MADV_DONTNEED);
		CHECK(run, conformance_load(run, word(memory, 2)) == 0,
		      "the device reads what was discarded");
		CHECK(run, *word(memory, 2) == 0, "the CPU reads what was discarded");
	}
	munmap(memory, SPAN_BYTES);
}

static void moved_mapping_keeps_its_data(struct conformance *run)
{
	void *old = conformance_map(SPAN_BYTES), *place = conformance_map(SPAN_BYTES),
	     *new;

	for (size_t i = 0; i < SPAN_BYTES / PAGE_BYTES; i++)
		conformance_store(run, word(old, i), pattern(i));
	CHECK(run, conformance_is_at(run, old, SPAN_BYTES, USVM_PAGE_DEVICE),
	      "not on the device after its stores");
	new = mremap(old, SPAN_BYTES, SPAN_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, place);
	CHECK(run, new == place, "mremap failed");
	if (new != place)
		return;
	expect_fault(run, old, -EFAULT, "where the mapping was is no -EFAULT");
	for (size_t i = 0; i < SPAN_BYTES / PAGE_BYTES; i++)
		CHECK(run,
		      (i % 2 ? conformance_load(run, word(new, i)) : *word(new, i)) ==
			      pattern(i),
		      "something else after mremap");
	munmap(new, SPAN_BYTES);
}

/* The device's own view of a word that is on it. */
static uint64_t peek(struct conformance *run, const struct usvm_page_info *page,
		     void *scratch)
{
	const struct usvm_device_config *config = &run->account->config;

	if (config->flags & USVM_DEVICE_OWN_MEMORY)
		config->ops->copy(config->device, page->vram_offset, scratch, PAGE_BYTES,
				  false);
	else
		return __atomic_load_n((uint64_t *)(void *)(run->account->host->vram +
							    page->vram_offset),
				       __ATOMIC_RELAXED);
	return *(uint64_t *)scratch;
}

struct busy_engine {
	struct conformance *run;
	void *memory;
	uint64_t rounds; /* atomic: of BUSY_ADDS, that are over */
	bool quit;       /* atomic */
	int err;         /* atomic: it ended itself */
};

#define BUSY_ADDS 100

static bool busy_engine_runs(struct busy_engine *busy)
{
	return !__atomic_load_n(&busy->err, __ATOMIC_ACQUIRE);
}

static void *busy_engine_run(void *arg)
{
	struct busy_engine *busy = arg;
	struct conformance *run = busy->run;

	while (!__atomic_load_n(&busy->quit, __ATOMIC_ACQUIRE) &&
	       busy_engine_runs(busy)) {
		*run->access = (struct conformance_access){
			.op = CONFORMANCE_ADD,
			.addr = (uintptr_t)busy->memory,
			.value = 1,
			.count = BUSY_ADDS,
		};
		__atomic_store_n(&busy->err,
				 run->hooks->access(run->hooks->context, run->access),
				 __ATOMIC_RELEASE);
		__atomic_fetch_add(&busy->rounds, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Stop the engine and see that it is. It stays stopped. */
static uint64_t stop_and_look(struct conformance *run, const struct usvm_page_info *page,
			      void *scratch)
{
	const struct usvm_device_ops *ops = run->account->config.ops;
	void *device = run->account->config.device;
	uint64_t before;

	ops->stop(device);
	syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	ops->wait_stopped(device);
	before = peek(run, page, scratch);
	for (int i = 0; i < 20; i++)
		CHECK(run, peek(run, page, scratch) == before,
		      "an engine is inside a section after wait_stopped()");
	return before;
}

/* The same, and the engine runs on. */
static uint64_t stop_and_go(struct conformance *run, const struct usvm_page_info *page,
			    void *scratch)
{
	uint64_t word = stop_and_look(run, page, scratch);

	run->account->config.ops->resume(run->account->config.device);
	return word;
}

/* Nothing of usvm happens meanwhile: no CPU touches the page, no event comes. So the
 * test may take usvm's part. */
static void stop_nests(struct conformance *run)
{
	const struct usvm_device_ops *ops = run->account->config.ops;
	void *device = run->account->config.device,
	     *scratch = conformance_map(PAGE_BYTES);
	struct busy_engine busy = { .run = run, .memory = conformance_map(PAGE_BYTES) };
	struct usvm_page_info page;
	uint64_t before, after;
	pthread_t thread;

	syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	conformance_store(run, busy.memory, 0);
	if (usvm_query(run->vm, busy.memory, &page) || page.state != USVM_PAGE_DEVICE ||
	    pthread_create(&thread, NULL, busy_engine_run, &busy)) {
		CHECK(run, false, "no page on the device");
		return;
	}
	while (stop_and_go(run, &page, scratch) < 1000 && busy_engine_runs(&busy))
		sched_yield();
	for (int i = 0; i < 2000; i++)
		stop_and_go(run, &page, scratch);
	for (int i = 0; i < 20; i++) {
		ops->stop(device);
		before = stop_and_look(run, &page, scratch);
		ops->resume(device);
		for (int j = 0; j < 50; j++)
			sched_yield();
		after = peek(run, &page, scratch);
		CHECK(run, before == after, "an engine goes on after one of two resumes");
		ops->resume(device);
		while (stop_and_go(run, &page, scratch) == after && busy_engine_runs(&busy))
			sched_yield();
	}
	__atomic_store_n(&busy.quit, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	CHECK(run, !busy.err, "an atomic failed");
	munmap(busy.memory, PAGE_BYTES);
	munmap(scratch, PAGE_BYTES);
}

static void four_times_device_memory(struct conformance *run)
{
	size_t bytes = 4 * run->info.vram_bytes, pages = bytes / PAGE_BYTES;
	uint64_t places[4] = { 0 };
	void *memory = conformance_map(bytes);

	for (size_t i = 0; i < pages; i++)
		conformance_store(run, word(memory, i), pattern(i));
	CHECK(run, !usvm_query_span(run->vm, memory, bytes, places),
	      "no answer where it is");
	CHECK(run, !run->info.migrates || places[USVM_PAGE_DEVICE] > 0,
	      "nothing on the device");
	CHECK(run, places[USVM_PAGE_DEVICE] <= run->info.vram_bytes / PAGE_BYTES,
	      "more on the device than it has memory");
	CHECK(run, places[USVM_PAGE_DEVICE] + places[USVM_PAGE_HOME] == pages,
	      "pages are lost");
	for (size_t i = 0; i < pages; i += 7)
		CHECK(run, conformance_load(run, word(memory, i)) == pattern(i),
		      "the device reads something else after evictions");
	for (size_t i = 0; i < pages; i++)
		CHECK(run, *word(memory, i) == pattern(i),
		      "the CPU reads something else after evictions");
	munmap(memory, bytes);
}

/* The CPU adds to the upper half of the word, the device to the lower one. */
static void atomics_add_up(struct conformance *run)
{
	struct busy_engine busy = { .run = run, .memory = conformance_map(PAGE_BYTES) };
	uint64_t *words = busy.memory, by_cpu = 0;
	pthread_t thread;

	if (pthread_create(&thread, NULL, busy_engine_run, &busy)) {
		CHECK(run, false, "no thread");
		return;
	}
	while ((by_cpu < 1000 || __atomic_load_n(&busy.rounds, __ATOMIC_RELAXED) < 10) &&
	       busy_engine_runs(&busy)) {
		__atomic_fetch_add(words, 1ull << 32, __ATOMIC_SEQ_CST);
		by_cpu++;
	}
	__atomic_store_n(&busy.quit, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	CHECK(run, !busy.err, "an atomic failed");
	CHECK(run, *words >> 32 == by_cpu % (1ull << 32),
	      "an addition of the CPU is lost");
	CHECK(run, (uint32_t)*words == busy.rounds * BUSY_ADDS,
	      "an addition of the device is lost");
	munmap(busy.memory, PAGE_BYTES);
}

static void close_brings_all_home(struct conformance *run)
{
	void *memory = conformance_map(SPAN_BYTES);

	for (size_t i = 0; i < SPAN_BYTES / PAGE_BYTES; i++)
		conformance_store(run, word(memory, i), pattern(i));
	CHECK(run, conformance_is_at(run, memory, SPAN_BYTES, USVM_PAGE_DEVICE),
	      "not on the device after its stores");
	conformance_close(run);
	for (size_t i = 0; i < SPAN_BYTES / PAGE_BYTES; i++)
		CHECK(run, *word(memory, i) == pattern(i), "something else after close");
	munmap(memory, SPAN_BYTES);
}

/* An access of a device that is gone ends with an error, and its memory is what it was. */
static void unplug_brings_all_home(struct conformance *run)
{
	void *memory = conformance_map(SPAN_BYTES);
	uint64_t value = 0;

	for (size_t i = 0; i < SPAN_BYTES / PAGE_BYTES; i++)
		conformance_store(run, word(memory, i), pattern(i));
	CHECK(run, conformance_is_at(run, memory, SPAN_BYTES, USVM_PAGE_DEVICE),
	      "not on the device after its stores");
	CHECK(run, !usvm_device_unplug(run->device), "the device could not be unplugged");
	CHECK(run, conformance_is_at(run, memory, SPAN_BYTES, USVM_PAGE_HOME),
	      "something is still on it");
	CHECK(run, conformance_access(run, CONFORMANCE_STORE, (uintptr_t)memory, &value),
	      "an access of a device that is gone succeeded");
	for (size_t i = 0; i < SPAN_BYTES / PAGE_BYTES; i++)
		CHECK(run, *word(memory, i) == pattern(i), "something else after it is gone");
	munmap(memory, SPAN_BYTES);
}

static void second_vm_sees_the_same(struct conformance *run)
{
	void *memory = conformance_map(SPAN_BYTES);

	conformance_store(run, memory, 8);
	conformance_vm_destroy(run);
	if (conformance_vm_create(run, 0)) {
		CHECK(run, false, "no second vm");
		return;
	}
	CHECK(run, conformance_load(run, memory) == 8, "something else in a second vm");
	CHECK(run, *word(memory, 0) == 8, "something else for the CPU");
	munmap(memory, SPAN_BYTES);
}

/* Return: pages that it fetched from the other. */
static uint64_t fetched(struct conformance *run, struct usvm_vm *vm, struct usvm *device,
			void *memory)
{
	struct usvm_page_info page = { 0 };
	uint64_t before = usvm_stat(device, "usvm_pages_from_peer");

	CHECK(run, !usvm_prefetch(vm, memory, SPAN_BYTES, USVM_PLACE_DEVICE),
	      "it could not be prefetched");
	CHECK(run, !usvm_query(vm, memory, &page) && page.state == USVM_PAGE_DEVICE &&
			   !page.is_elsewhere,
	      "a prefetch left it with the other device");
	return usvm_stat(device, "usvm_pages_from_peer") - before;
}

static void pages_go_to_and_fro(struct conformance *run, struct usvm *peer, struct usvm_vm *vm)
{
	const uint64_t pages = SPAN_BYTES / PAGE_BYTES;
	void *memory = conformance_map(SPAN_BYTES);

	for (uint64_t i = 0; i < pages; i++)
		conformance_store(run, word(memory, i), pattern(i));
	for (int round = 0; round < 3; round++) {
		CHECK(run, fetched(run, vm, peer, memory) == pages,
		      "they did not come to the peer directly");
		CHECK(run, fetched(run, run->vm, run->device, memory) == pages,
		      "they did not come back directly");
		for (uint64_t i = 0; i < pages; i++)
			CHECK(run, conformance_load(run, word(memory, i)) == pattern(i),
			      "something else after a peer had it");
	}
	(void)fetched(run, vm, peer, memory);
	for (uint64_t i = 0; i < pages; i++)
		CHECK(run, *word(memory, i) == pattern(i), "something else from a peer");
	munmap(memory, SPAN_BYTES);
}

static void a_peer_gets_pages_directly(struct conformance *run)
{
	struct usvm_device_config ours;
	struct account *account;
	struct usvm *peer = NULL;
	struct usvm_vm *vm = NULL;

	if (!run->hooks->peer)
		return;
	account = account_create(run->hooks->peer);
	ours = account_config(account);
	CHECK(run, !usvm_open_device(&ours, "thrash_control=no,peers=conformance", &peer) &&
			   !usvm_vm_create(peer, NULL, &vm),
	      "the peer could not be opened");
	if (vm)
		pages_go_to_and_fro(run, peer, vm);
	CHECK(run, !usvm_vm_destroy(vm) && !usvm_close(peer), "the peer could not be closed");
	if (run->account->ops.copy_peer && account->ops.copy_peer)
		CHECK(run, run->account->to_peer_bytes && account->to_peer_bytes,
		      "copy_peer() was not called");
	CHECK(run, !account_close(account), "the peer's account is not settled");
	account_destroy(account);
}

const struct check conformance_checks[] = {
	{ "attaches_once_and_detaches", attaches_once_and_detaches, false, true },
	{ "fault_is_answered", fault_is_answered, false, true },
	{ "device_write_is_seen_by_cpu", device_write_is_seen_by_cpu, false, false },
	{ "cpu_write_is_seen_by_device", cpu_write_is_seen_by_device, false, false },
	{ "every_byte_travels", every_byte_travels, false, false },
	{ "query_names_the_device", query_names_the_device, true, false },
	{ "untouched_memory_is_zero", untouched_memory_is_zero, false, false },
	{ "prefetched_memory_does_not_fault", prefetched_memory_does_not_fault, true,
	  true },
	{ "read_only_memory_refuses_writes", read_only_memory_refuses_writes, false,
	  false },
	{ "read_only_vm_refuses_writes", read_only_vm_refuses_writes, false, false },
	{ "unmapped_memory_faults", unmapped_memory_faults, false, false },
	{ "reused_address_is_zero", reused_address_is_zero, false, false },
	{ "discarded_memory_is_zero", discarded_memory_is_zero, false, false },
	{ "moved_mapping_keeps_its_data", moved_mapping_keeps_its_data, false, false },
	{ "stop_nests", stop_nests, true, true },
	{ "four_times_device_memory", four_times_device_memory, false, false },
	{ "atomics_add_up", atomics_add_up, false, false },
	{ "close_brings_all_home", close_brings_all_home, false, false },
	{ "unplug_brings_all_home", unplug_brings_all_home, false, false },
	{ "second_vm_sees_the_same", second_vm_sees_the_same, false, false },
	{ "a_peer_gets_pages_directly", a_peer_gets_pages_directly, true, true },
	{ 0 },
};
