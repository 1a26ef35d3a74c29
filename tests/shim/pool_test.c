/* SPDX-License-Identifier: MIT */
/*
 * pool_test.c - processes that share a card's memory, under `usvm run --vram 64M`.
 */
#include <signal.h>
#include <sys/wait.h>

#include "client.h"

#define MIB(n) ((uint64_t)(n) << 20)
#define POOL MIB(64)

static uint64_t used(int fd)
{
	struct {
		struct xe_list_head head;
		struct xe_mem_region regions[2];
	} answer;
	struct xe_device_query args = { .query = XE_QUERY_MEM_REGIONS };

	CHECK(!ioctl(fd, REQUEST(XE_DEVICE_QUERY, struct xe_device_query), &args));
	CHECK(args.bytes == sizeof(answer));
	args.data = (uintptr_t)&answer;
	CHECK(!ioctl(fd, REQUEST(XE_DEVICE_QUERY, struct xe_device_query), &args));
	CHECK(answer.regions[1].total_bytes == POOL);
	return answer.regions[1].used_bytes;
}

static int create(int fd, uint64_t bytes)
{
	struct xe_gem_create args = { .bytes = bytes, .placement = 2, .cpu_caching = 2 };

	return ioctl(fd, REQUEST(XE_GEM_CREATE, struct xe_gem_create), &args) ? -errno : 0;
}

struct child {
	pid_t pid;
	int to, from; /* a byte each: go on; done */
};

static void say(int fd)
{
	CHECK(write(fd, "x", 1) == 1);
}

static void hear(int fd)
{
	char byte;

	CHECK(read(fd, &byte, 1) == 1);
}

/* A process with a card of its own that calls @run, says so, and calls @after when it hears
 * so. */
static void start(struct child *child, void (*run)(int fd), void (*after)(int fd))
{
	int to[2], from[2];

	CHECK(!pipe(to) && !pipe(from));
	child->pid = fork();
	CHECK(child->pid >= 0);
	child->to = to[1];
	child->from = from[0];
	if (!child->pid) {
		int fd = open("/dev/dri/renderD128", O_RDWR);

		CHECK(fd >= 0);
		run(fd);
		say(from[1]);
		hear(to[0]);
		after(fd);
		_exit(0);
	}
	close(to[0]);
	close(from[1]);
	hear(child->from);
}

static void stop(struct child *child)
{
	int status;

	say(child->to);
	CHECK(waitpid(child->pid, &status, 0) == child->pid && !status);
	close(child->to);
	close(child->from);
}

static void nothing(int fd)
{
	(void)fd;
}

static void fill_by_objects(int fd)
{
	for (uint64_t i = 0; i < POOL; i += MIB(4))
		CHECK(!create(fd, MIB(4)));
}

static unsigned char *memory;

#define MEMORY MIB(48)
#define STEP MIB(2)

/* The GPU writes to each of so many huge pages. */
static void fill_by_pages(int fd)
{
	struct client c;

	close(fd);
	client_open(&c);
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	for (uint64_t at = 0; at < MEMORY; at += STEP)
		client_run(&c, memory + at, 1 + (uint32_t)(at / STEP));
}

static void look_at_pages(int fd)
{
	(void)fd;
	for (uint64_t at = 0; at < MEMORY; at += STEP)
		CHECK(*(volatile uint32_t *)(memory + at) == 1 + (uint32_t)(at / STEP));
}

static void others_make_way(void)
{
	int fd = open("/dev/dri/renderD128", O_RDWR);
	struct child objects, pages;

	CHECK(fd >= 0 && used(fd) == 0);
	start(&pages, fill_by_pages, look_at_pages);
	CHECK(used(fd) <= POOL);
	start(&objects, fill_by_objects, nothing);
	CHECK(used(fd) <= POOL && used(fd) > POOL / 2);
	for (uint64_t i = 0; i < POOL; i += MIB(8)) {
		CHECK(!create(fd, MIB(8)));
		CHECK(used(fd) <= POOL);
	}
	stop(&pages);
	stop(&objects);
	CHECK(used(fd) <= POOL);
	CHECK(!close(fd));
}

static void the_dead_hold_nothing(void)
{
	int fd = open("/dev/dri/renderD128", O_RDWR);

	CHECK(fd >= 0);
	for (int i = 0; i < 3; i++) {
		struct child child;

		start(&child, fill_by_objects, nothing);
		CHECK(used(fd) == POOL);
		CHECK(!kill(child.pid, SIGKILL));
		CHECK(waitpid(child.pid, NULL, 0) == child.pid);
		CHECK(used(fd) == 0);
		close(child.to);
		close(child.from);
	}
	CHECK(!create(fd, POOL));
	CHECK(used(fd) == POOL);
	CHECK(!close(fd));
	CHECK(used(open("/dev/dri/renderD128", O_RDWR)) == 0);
}

/* As many as there are processors, and all of them want all. */
static void fill_twice(int fd)
{
	fill_by_objects(fd);
	fill_by_pages(fd);
	look_at_pages(fd);
}

static void all_get_on_when_all_want_all(void)
{
	struct child children[3];
	int status;

	for (int i = 0; i < 3; i++) {
		children[i].pid = fork();
		if (!children[i].pid) {
			fill_twice(open("/dev/dri/renderD128", O_RDWR));
			_exit(0);
		}
	}
	for (int i = 0; i < 3; i++)
		CHECK(waitpid(children[i].pid, &status, 0) == children[i].pid && !status);
}

int main(void)
{
	others_make_way();
	the_dead_hold_nothing();
	all_get_on_when_all_want_all();
	return 0;
}
