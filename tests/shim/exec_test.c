/* SPDX-License-Identifier: MIT */
/*
 * exec_test.c - jobs where memory may not fault, under `usvm run --vram 8M`: all that is bound
 * is there before a job starts.
 */
#include <pthread.h>

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

int main(void)
{
	two_that_need_all_memory_take_turns();
	a_user_pointer_that_leads_nowhere_ends_who_touches_it();
	return 0;
}
