/* SPDX-License-Identifier: MIT */
/*
 * modes_client.c WHAT... - a program whose memory goes to the card, or does not; see
 * modes_test.py, which looks at what `usvm run` says of it.
 */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "client.h"

static void *map(int prot, int flags, int fd)
{
	void *page = mmap(NULL, PAGE, prot, flags, fd, 0);

	CHECK(page != MAP_FAILED);
	return page;
}

static void use(struct client *c, void *page)
{
	client_run(c, page, 42);
	CHECK(*(volatile uint32_t *)page == 42);
}

static void use_anonymous(struct client *c)
{
	use(c, map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1));
}

static void use_shared(struct client *c)
{
	use(c, map(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1));
}

static void use_file(struct client *c)
{
	char name[] = "/tmp/modes_client.XXXXXX";
	int fd = mkstemp(name);

	CHECK(fd >= 0 && !unlink(name) && !ftruncate(fd, PAGE));
	use(c, map(PROT_READ | PROT_WRITE, MAP_PRIVATE, fd));
}

static void use_locked(struct client *c)
{
	void *page = map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (mlock(page, PAGE)) {
		printf("SKIP: mlock: %s\n", strerror(errno));
		exit(77);
	}
	use(c, page);
}

/* Memory that is advised to stay in the system. */
static void use_advised(struct client *c)
{
	void *page = map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct xe_madvise args = {
		.start = (uintptr_t)page, .bytes = PAGE, .vm = c->vm,
		.type = XE_ATTR_PREFERRED, .preferred.device_fd = XE_PREFERRED_SYSTEM,
	};

	CHECK(!ioctl(c->fd, REQUEST(XE_MADVISE, struct xe_madvise), &args));
	use(c, page);
}

static void do_one(struct client *c, const char *what);

/* A child with a card of its own does what the rest of the word says. */
static void in_child(struct client *c, const char *what)
{
	pid_t child = fork();
	int status;

	CHECK(child >= 0);
	if (!child) {
		struct client own;

		client_open(&own);
		if (!strcmp(what, "killed"))
			raise(SIGKILL);
		do_one(&own, what);
		_exit(0);
	}
	(void)c;
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(!status || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
}

static void end_process(int signal)
{
	(void)signal;
	_exit(0);
}

/* Every thread of the library is told to end the process. */
static void end_by_library(void)
{
	DIR *threads = opendir("/proc/self/task");
	const struct dirent *entry;

	CHECK(threads && signal(SIGSEGV, end_process) != SIG_ERR);
	while ((entry = readdir(threads))) {
		int tid = atoi(entry->d_name);

		if (tid && tid != getpid())
			CHECK(!syscall(SYS_tgkill, getpid(), tid, SIGSEGV));
	}
	for (;;)
		pause();
}

static void *end_too(void *barrier)
{
	pthread_barrier_wait(barrier);
	_exit(0);
}

/* Four threads end the process at once. */
static void end_by_all(void)
{
	pthread_barrier_t barrier;
	pthread_t thread;

	CHECK(!pthread_barrier_init(&barrier, NULL, 4));
	for (int i = 0; i < 3; i++)
		CHECK(!pthread_create(&thread, NULL, end_too, &barrier));
	end_too(&barrier);
}

/* A handler ends the process in the middle of a call that looks at the card's memory. */
static void end_in_call(struct client *c)
{
	const struct itimerval soon = { .it_value.tv_usec = 500 + getpid() % 64 * 16 };
	unsigned char buffer[1024];
	struct xe_device_query query = { .query = XE_QUERY_MEM_REGIONS };

	CHECK(!ioctl(c->fd, REQUEST(XE_DEVICE_QUERY, struct xe_device_query), &query));
	CHECK(query.bytes && query.bytes <= sizeof(buffer));
	query.data = (uintptr_t)buffer;
	CHECK(signal(SIGALRM, end_process) != SIG_ERR);
	CHECK(!setitimer(ITIMER_REAL, &soon, NULL));
	for (;;)
		CHECK(!ioctl(c->fd, REQUEST(XE_DEVICE_QUERY, struct xe_device_query), &query));
}

static void do_one(struct client *c, const char *what)
{
	if (!strcmp(what, "library-ends"))
		end_by_library();
	else if (!strcmp(what, "call-ends"))
		end_in_call(c);
	else if (!strcmp(what, "all-end"))
		end_by_all();
	else if (!strcmp(what, "anonymous"))
		use_anonymous(c);
	else if (!strcmp(what, "shared"))
		use_shared(c);
	else if (!strcmp(what, "file"))
		use_file(c);
	else if (!strcmp(what, "locked"))
		use_locked(c);
	else if (!strcmp(what, "advised"))
		use_advised(c);
	else if (!strncmp(what, "child-", 6))
		in_child(c, what + 6);
	else
		CHECK(!strcmp(what, "idle"));
}

int main(int argc, char **argv)
{
	struct client c;

	client_open(&c);
	for (int i = 1; i < argc; i++)
		do_one(&c, argv[i]);
	return 0;
}
