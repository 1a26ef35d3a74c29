/* SPDX-License-Identifier: MIT */
/*
 * exec_test.c - jobs where memory may not fault, under `usvm run --vram 8M`: all that is bound
 * is there before a job starts; and what is counted when it is unbound.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "client.h"

#define VRAM_BYTES (8u << 20)
#define OBJECT_BYTES (1u << 20)
#define AT 0x100000ull
#define EXECS 500

static uint32_t make_object(struct client *c)
{
	struct xe_gem_create args = {
		.bytes = OBJECT_BYTES, .placement = 2, .cpu_caching = XE_GEM_CACHING_WC,
		.flags = XE_GEM_DEFER_BACKING,
	};

	CHECK(!ioctl(c->fd, REQUEST(XE_GEM_CREATE, struct xe_gem_create), &args));
	return args.handle;
}

static void bind_object(struct client *c, uint32_t vm, uint32_t object, uint64_t at)
{
	const struct xe_bind_op op = {
		.op = XE_BIND_MAP, .object = object, .addr = at, .bytes = OBJECT_BYTES,
		.pat_index = CACHED,
	};

	CHECK(!client_bind(c, vm, &op));
}

static void *exec_often(void *argument)
{
	struct client *c = argument;

	for (int i = 0; i < EXECS; i++)
		CHECK(!client_exec(c, c->queue, 0, NULL));
	return NULL;
}

/* Each address space alone has all of the memory: at the same time they take turns. */
static void two_that_need_all_memory_take_turns(void)
{
	struct client clients[2];
	pthread_t threads[2];
	int fd = open("/dev/dri/renderD128", O_RDWR);

	CHECK(fd >= 0);
	for (int i = 0; i < 2; i++) {
		struct client *c = &clients[i];

		c->fd = fd;
		c->vm = client_vm(c, 0);
		for (uint64_t at = 0; at < VRAM_BYTES; at += OBJECT_BYTES)
			bind_object(c, c->vm, make_object(c), AT + at);
		c->queue = client_queue(c, c->vm);
	}
	for (int i = 0; i < 2; i++)
		CHECK(!pthread_create(&threads[i], NULL, exec_often, &clients[i]));
	for (int i = 0; i < 2; i++)
		CHECK(!pthread_join(threads[i], NULL));
	CHECK(!close(fd));
}

/* Who does not touch a user pointer whose memory is gone is not kept from running; who does
 * ends its queue. */
static void a_user_pointer_that_leads_nowhere_ends_who_touches_it(void)
{
	struct client c;
	uint32_t *batch, *result;
	void *gone;

	c.fd = open("/dev/dri/renderD128", O_RDWR);
	CHECK(c.fd >= 0);
	c.vm = client_vm(&c, 0);
	gone = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	batch = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	result = batch + 512;
	/* The one that is gone comes first. */
	CHECK(!client_bind(&c, c.vm, &(struct xe_bind_op){
		.op = XE_BIND_MAP_USERPTR, .offset = (uintptr_t)gone, .addr = AT, .bytes = PAGE,
		.pat_index = CACHED }));
	CHECK(!client_bind(&c, c.vm, &(struct xe_bind_op){
		.op = XE_BIND_MAP_USERPTR, .offset = (uintptr_t)batch, .addr = AT + PAGE,
		.bytes = PAGE, .pat_index = CACHED }));
	c.queue = client_queue(&c, c.vm);
	CHECK(!munmap(gone, PAGE));
	client_store(batch, AT + PAGE + 2048, 7);
	CHECK(!client_exec(&c, c.queue, AT + PAGE, NULL));
	while (*(volatile uint32_t *)result != 7)
		;
	client_store(batch, AT, 8);
	CHECK(!client_exec(&c, c.queue, AT + PAGE, NULL));
	while (client_exec(&c, c.queue, 0, NULL) != -ECANCELED)
		;
	CHECK(!close(c.fd));
}

/* A counter of the card. */
static uint64_t counter(const char *name)
{
	FILE *file = fopen("/sys/kernel/debug/dri/0/gt0/stats", "r");
	uint64_t value = UINT64_MAX;
	char line[128];

	CHECK(file);
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			value = strtoull(line + strlen(name) + 1, NULL, 10);
	}
	CHECK(!fclose(file) && value != UINT64_MAX);
	return value;
}

struct reclaimed {
	uint64_t small, middle, large, issued, aborted;
};

static struct reclaimed reclaimed(void)
{
	return (struct reclaimed){
		counter("prl_4k_entry_count"), counter("prl_64k_entry_count"),
		counter("prl_2m_entry_count"), counter("prl_issued_count"),
		counter("prl_aborted_count"),
	};
}

/* Bind @bytes of the object's begin at @at, unbind them: what was counted of it? */
static void expect_reclaimed(struct client *c, uint32_t object, uint64_t at, uint64_t bytes,
			     struct reclaimed expected)
{
	struct xe_bind_op op = {
		.op = XE_BIND_MAP, .object = object, .addr = at, .bytes = bytes,
		.pat_index = CACHED,
	};
	struct reclaimed before = reclaimed(), after;

	CHECK(!client_bind(c, c->vm, &op));
	op.op = XE_BIND_UNMAP;
	op.object = 0;
	CHECK(!client_bind(c, c->vm, &op));
	after = reclaimed();
	CHECK(after.small - before.small == expected.small);
	CHECK(after.middle - before.middle == expected.middle);
	CHECK(after.large - before.large == expected.large);
	CHECK(after.issued - before.issued == expected.issued);
	CHECK(after.aborted - before.aborted == expected.aborted);
}

static void what_is_unbound_is_counted_by_size(void)
{
	struct xe_gem_create args = {
		.bytes = 4u << 20, .placement = 1, .cpu_caching = XE_GEM_CACHING_WB,
	};
	const uint64_t base = 1ull << 30;
	struct xe_bind_op none = { .op = XE_BIND_UNMAP, .addr = base, .bytes = PAGE };
	struct reclaimed before;
	struct client c;

	c.fd = open("/dev/dri/renderD128", O_RDWR);
	CHECK(c.fd >= 0);
	c.vm = client_vm(&c, 0);
	CHECK(!ioctl(c.fd, REQUEST(XE_GEM_CREATE, struct xe_gem_create), &args));
	expect_reclaimed(&c, args.handle, base, PAGE, (struct reclaimed){ 1, 0, 0, 1, 0 });
	expect_reclaimed(&c, args.handle, base, 2u << 20, (struct reclaimed){ 0, 0, 1, 1, 0 });
	expect_reclaimed(&c, args.handle, base, (2u << 20) + (64u << 10) + PAGE,
			 (struct reclaimed){ 1, 1, 1, 1, 0 });
	/* Address and offset do not agree: small entries. */
	expect_reclaimed(&c, args.handle, base + PAGE, 511 * PAGE,
			 (struct reclaimed){ 511, 0, 0, 1, 0 });
	/* One too many for a list. */
	expect_reclaimed(&c, args.handle, base + PAGE, 512 * PAGE,
			 (struct reclaimed){ 511, 0, 0, 0, 1 });
	before = reclaimed();
	CHECK(!client_bind(&c, c.vm, &none));
	CHECK(reclaimed().issued == before.issued);
	CHECK(!close(c.fd));
}

/* As a driver that is built for tests: the bind fails, what was there stays. */
static void a_bind_that_is_to_fail_changes_nothing(void)
{
	struct xe_bind_op op = { .op = XE_BIND_MAP, .addr = AT, .bytes = OBJECT_BYTES,
				 .pat_index = CACHED };
	struct client c;

	c.fd = open("/dev/dri/renderD128", O_RDWR);
	CHECK(c.fd >= 0);
	c.vm = client_vm(&c, 0);
	op.object = make_object(&c);
	CHECK(!client_bind(&c, c.vm, &op));
	op.flags = XE_BIND_FAIL;
	op.op = XE_BIND_UNMAP;
	op.object = 0;
	CHECK(client_bind(&c, c.vm, &op) == -ENOSPC);
	op.flags = XE_BIND_FAIL | 1u << 20;
	CHECK(client_bind(&c, c.vm, &op) == -EINVAL);
	CHECK(!close(c.fd));
}

static volatile char *map_object(struct client *c, uint32_t object)
{
	struct xe_gem_mmap_offset args = { .handle = object };
	char *at;

	CHECK(!ioctl(c->fd, REQUEST(XE_GEM_MMAP_OFFSET, struct xe_gem_mmap_offset), &args));
	at = mmap(NULL, OBJECT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd,
		  (off_t)args.offset);
	CHECK(at != MAP_FAILED);
	return at;
}

/* Say of what is bound over @at that it is not needed. Return: is it still there? */
static bool not_needed(struct client *c, uint64_t at)
{
	uint32_t retained = 0;
	struct xe_madvise args = {
		.vm = c->vm, .type = XE_ATTR_PURGEABLE, .start = at, .bytes = PAGE,
		.number = { .value = XE_PURGEABLE_DONTNEED, .retained = (uintptr_t)&retained },
	};

	CHECK(!ioctl(c->fd, REQUEST(XE_MADVISE, struct xe_madvise), &args));
	return retained;
}

static void fill_memory(struct client *c)
{
	struct xe_gem_create args = {
		.bytes = VRAM_BYTES, .placement = 2, .cpu_caching = XE_GEM_CACHING_WC,
	};
	struct drm_gem_close close_args;

	CHECK(!ioctl(c->fd, REQUEST(XE_GEM_CREATE, struct xe_gem_create), &args));
	close_args = (struct drm_gem_close){ .handle = args.handle };
	CHECK(!ioctl(c->fd, REQUEST(DRM_GEM_CLOSE, struct drm_gem_close), &close_args));
}

static sigjmp_buf back;

static void caught(int number)
{
	(void)number;
	siglongjmp(back, 1);
}

static bool is_bus_error(volatile char *at)
{
	if (sigsetjmp(back, 1))
		return true;
	*at = 1;
	return false;
}

/* Through every mapping, also one that was moved, and a child's. */
static void who_touches_what_was_purged_gets_a_bus_error(void)
{
	struct xe_gem_create create = {
		.bytes = OBJECT_BYTES, .placement = 2, .cpu_caching = XE_GEM_CACHING_WC,
	};
	volatile char *at, *second;
	struct client c;
	int status;
	pid_t pid;

	c.fd = open("/dev/dri/renderD128", O_RDWR);
	CHECK(c.fd >= 0);
	c.vm = client_vm(&c, 0);
	CHECK(!ioctl(c.fd, REQUEST(XE_GEM_CREATE, struct xe_gem_create), &create));
	bind_object(&c, c.vm, create.handle, AT);
	at = map_object(&c, create.handle);
	second = map_object(&c, create.handle);
	second = mremap((void *)(uintptr_t)second, OBJECT_BYTES, 2 * PAGE, 0);
	CHECK(second != MAP_FAILED);
	at[0] = 3;
	second[PAGE] = 4;
	CHECK(not_needed(&c, AT) && at[PAGE] == 4);
	fill_memory(&c);
	CHECK(!not_needed(&c, AT));
	CHECK(signal(SIGBUS, caught) != SIG_ERR);
	CHECK(is_bus_error(at) && is_bus_error(at + OBJECT_BYTES - 1));
	CHECK(is_bus_error(second) && is_bus_error(second + PAGE));
	pid = fork();
	if (!pid)
		_exit(is_bus_error(at) ? 0 : 1);
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status));
	CHECK(signal(SIGBUS, SIG_DFL) != SIG_ERR);
	CHECK(!close(c.fd));
}

/* An object has a descriptor of its own, which is none of the program's; where there are no
 * more it does without. */
static void more_objects_than_descriptors_can_be_had(void)
{
	struct xe_gem_create create = {
		.bytes = PAGE, .placement = 2, .cpu_caching = XE_GEM_CACHING_WC,
	};
	struct rlimit before, few;
	struct client c;
	int lowest = dup(0);

	c.fd = open("/dev/dri/renderD128", O_RDWR);
	CHECK(c.fd >= 0 && lowest >= 0 && !close(lowest));
	CHECK(!getrlimit(RLIMIT_NOFILE, &before));
	few = (struct rlimit){ 64, before.rlim_max };
	CHECK(!setrlimit(RLIMIT_NOFILE, &few));
	for (int i = 0; i < 100; i++) {
		create.handle = 0;
		CHECK(!ioctl(c.fd, REQUEST(XE_GEM_CREATE, struct xe_gem_create), &create));
	}
	CHECK(dup(0) == lowest && !close(lowest));
	CHECK(!setrlimit(RLIMIT_NOFILE, &before));
	CHECK(!close(c.fd));
}

/* Its own file of the card behind the same descriptor: the bytes it has, the numbers not. */
static void in_a_child(struct client *c, uint32_t object, volatile char *at)
{
	struct xe_gem_mmap_offset args = { .handle = object };
	struct xe_device_query query = { .query = XE_QUERY_CONFIG };
	int copy = dup(c->fd);

	CHECK(at[0] == 1);
	at[0] = 2;
	CHECK(copy >= 0 && !close(c->fd));
	CHECK(!ioctl(copy, REQUEST(XE_DEVICE_QUERY, struct xe_device_query), &query));
	CHECK(ioctl(copy, REQUEST(XE_GEM_MMAP_OFFSET, struct xe_gem_mmap_offset), &args) &&
	      errno == ENOENT);
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, copy, (off_t)object << 40) == MAP_FAILED &&
	      errno == EINVAL);
	c->fd = copy;
	CHECK(client_exec(c, c->queue, 0, NULL) == -ENOENT);
	CHECK(!close(copy) && at[0] == 2);
	_exit(0);
}

static void a_child_has_the_bytes_of_objects_and_not_their_numbers(void)
{
	volatile char *at;
	struct client c;
	uint32_t object;
	pid_t child;
	int status;

	client_open(&c);
	object = make_object(&c);
	at = map_object(&c, object);
	at[0] = 1;
	child = fork();
	CHECK(child >= 0);
	if (!child)
		in_a_child(&c, object, at);
	CHECK(waitpid(child, &status, 0) == child && !status);
	CHECK(at[0] == 2);
	/* Here all of it is as it was. */
	CHECK(map_object(&c, object)[0] == 2);
	CHECK(!close(c.fd));
}

static void *unbind_often(void *argument)
{
	struct client *c = argument;
	const struct xe_bind_op all = { .op = XE_BIND_UNMAP, .bytes = 1ull << 48,
					.pat_index = CACHED };
	/* Nothing is mapped there. */
	const struct xe_bind_op user = { .op = XE_BIND_MAP_USERPTR, .bytes = PAGE, .addr = AT,
					 .offset = PAGE, .pat_index = CACHED };

	for (int i = 0; i < EXECS; i++) {
		CHECK(client_bind(c, c->vm, &all) == -EBUSY);
		CHECK(client_bind(c, c->other_vm, &user) == -EFAULT);
	}
	return NULL;
}

/* Also who comes while another is at it is told what became of his. */
static void what_the_gpu_uses_is_not_unbound_by_two_at_once(void)
{
	pthread_t threads[2];
	struct client c;
	uint32_t *page;

	client_open(&c);
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	client_run(&c, page, 3);
	c.other_vm = client_vm(&c, 0);
	for (int i = 0; i < 2; i++)
		CHECK(!pthread_create(&threads[i], NULL, unbind_often, &c));
	for (int i = 0; i < 2; i++)
		CHECK(!pthread_join(threads[i], NULL));
	CHECK(!munmap(page, PAGE) && !close(c.fd));
}

int main(void)
{
	what_the_gpu_uses_is_not_unbound_by_two_at_once();
	who_touches_what_was_purged_gets_a_bus_error();
	more_objects_than_descriptors_can_be_had();
	a_child_has_the_bytes_of_objects_and_not_their_numbers();
	what_is_unbound_is_counted_by_size();
	a_bind_that_is_to_fail_changes_nothing();
	two_that_need_all_memory_take_turns();
	a_user_pointer_that_leads_nowhere_ends_who_touches_it();
	return 0;
}
