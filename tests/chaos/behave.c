/* SPDX-License-Identifier: MIT */
/*
 * behave CASE: a program that does one thing that a preloaded library could disturb, and
 * prints what came of it. chaos_test.py runs it with `usvm chaos` and without.
 *
 * Each case works on a few MiB of heap meanwhile, and says so if it is not what it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORDS (1u << 19)
#define CHILDREN 4

extern char **environ;

static const char *self;

/* --- memory ------------------------------------------------------------------------ */

static uint64_t *heap_make(uint64_t seed)
{
	uint64_t *words = malloc(WORDS * sizeof(*words));

	for (uint64_t i = 0; i < WORDS; i++)
		words[i] = (seed + i) * 0x9e3779b97f4a7c15ull;
	return words;
}

/* Walks over it, and changes it, for @ms of the clock. */
static void heap_use(uint64_t *words, uint64_t seed, uint64_t ms)
{
	struct timespec now;
	uint64_t end = 0, time;
	uint64_t turn = 0;

	do {
		for (uint64_t i = 0; i < WORDS; i++) {
			uint64_t want = (seed + i) * 0x9e3779b97f4a7c15ull + turn;

			if (words[i] != want) {
				printf("word %lu is %lx and not %lx\n", (unsigned long)i,
				       (unsigned long)words[i], (unsigned long)want);
				fflush(stdout);
				abort();
			}
			words[i]++;
		}
		turn++;
		clock_gettime(CLOCK_MONOTONIC, &now);
		time = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
		if (!end)
			end = time + ms;
	} while (time < end);
}

static void work(uint64_t seed, uint64_t ms)
{
	uint64_t *words = heap_make(seed);

	heap_use(words, seed, ms);
	free(words);
}

static void *work_thread(void *arg)
{
	work((uintptr_t)arg, 200);
	return NULL;
}

static int wait_for(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* --- cases --------------------------------------------------------------------------- */

static int descriptors(void)
{
	int fds[4], ends[2];

	work(1, 100);
	for (int i = 0; i < 4; i++)
		fds[i] = open("/dev/null", O_RDONLY);
	printf("open: %d %d %d %d\n", fds[0], fds[1], fds[2], fds[3]);
	printf("pipe: %d\n", pipe(ends));
	printf("ends: %d %d\n", ends[0], ends[1]);
	for (int fd = 0; fd < 64; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			printf("%d is open\n", fd);
	}
	fflush(stdout);
	close(ends[1]);
	return (int)read(ends[0], fds, 1); /* 0: nobody else has its other end */
}

/* All closed, standard streams too, and memory used after it. */
static int closed(void)
{
	uint64_t *words = heap_make(2);

	heap_use(words, 2, 100);
	for (int fd = 0; fd < 1024; fd++)
		close(fd);
	for (int i = 0; i < 20; i++) {
		free(words);
		words = heap_make(2);
		heap_use(words, 2, 10);
	}
	return open("/dev/null", O_RDONLY) == 0 ? 5 : 6;
}

static void print_environment(const char *who)
{
	printf("%s:\n", who);
	for (char **at = environ; *at; at++)
		printf("  %s\n", *at);
	fflush(stdout);
}

static int environment(void)
{
	char *none[] = { NULL };
	char *one[] = { (char[]){ "LD_PRELOAD=" }, (char[]){ "A=b" }, NULL };
	char *argv[] = { (char *)(uintptr_t)self, (char[]){ "print" }, NULL };
	char command[4096];
	char line[4096];
	FILE *stream;
	pid_t pid;

	work(3, 50);
	print_environment("self");
	snprintf(command, sizeof(command), "'%s' print", self);
	printf("system: %d\n", system(command));
	stream = popen(command, "r");
	while (stream && fgets(line, sizeof(line), stream))
		printf("popen: %s", line);
	printf("popen: %d\n", stream ? pclose(stream) : -1);
	print_environment("self, again");
	printf("spawn: %d\n", posix_spawn(&pid, self, NULL, NULL, argv, one));
	printf("spawned: %d\n", wait_for(pid));
	printf("spawn: %d\n", posix_spawnp(&pid, self, NULL, NULL, argv, none));
	printf("spawned: %d\n", wait_for(pid));
	fflush(stdout);
	pid = vfork();
	if (!pid) {
		execl(self, self, "print", (char *)NULL);
		_exit(99);
	}
	printf("execl: %d\n", wait_for(pid));
	pid = fork();
	if (!pid) {
		execle(self, self, "print", (char *)NULL, one);
		_exit(99);
	}
	printf("execle: %d\n", wait_for(pid));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		execlp("sh", "sh", "-c", "env | sort; exit 7", (char *)NULL);
		_exit(99);
	}
	printf("execlp: %d\n", wait_for(pid));
	fflush(stdout);
	clearenv();
	execv(self, argv);
	return 98;
}

static int print(void)
{
	work(4, 50);
	print_environment("child");
	return 0;
}

static int children(void)
{
	uint64_t *words = heap_make(5);
	pid_t pids[CHILDREN];

	heap_use(words, 5, 100);
	free(words);
	words = heap_make(5);
	for (int i = 0; i < CHILDREN; i++) {
		fflush(stdout);
		pids[i] = fork();
		if (pids[i])
			continue;
		heap_use(words, 5, 150);
		if (i == 1) {
			pid_t pid = fork();

			if (!pid) {
				work(6, 100);
				_exit(12);
			}
			_exit(wait_for(pid));
		}
		if (i == 2)
			kill(getpid(), SIGKILL);
		exit(20 + i);
	}
	heap_use(words, 5, 200);
	for (int i = 0; i < CHILDREN; i++)
		printf("child %d: %d\n", i, wait_for(pids[i]));
	return 0;
}

/* Threads that fork. */
static void *fork_thread(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	uint64_t result = 0;

	for (int i = 0; i < 4; i++) {
		uint64_t *words = heap_make(seed);
		pid_t pid = fork();

		if (!pid) {
			heap_use(words, seed, 20);
			_exit(3);
		}
		heap_use(words, seed, 20);
		free(words);
		result += (uint64_t)wait_for(pid);
	}
	return (void *)(uintptr_t)result;
}

static int threads_that_fork(void)
{
	pthread_t threads[3];

	for (uintptr_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, fork_thread, (void *)(i + 1));
	for (int i = 0; i < 3; i++) {
		void *result;

		pthread_join(threads[i], &result);
		printf("thread %d: %lu\n", i, (unsigned long)(uintptr_t)result);
	}
	return 0;
}

/* The process ends when its last thread does. */
static int first_thread_ends(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, work_thread, (void *)8);
	printf("the first thread ends\n");
	fflush(stdout);
	pthread_exit(NULL);
}

static void *null_address;

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	printf("signal %d at %p\n", number, info->si_addr);
	fflush(stdout);
	_exit(33);
}

static int handled_fault(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &action, NULL);
	work(9, 100);
	return *(volatile int *)null_address;
}

static int fault(void)
{
	work(10, 100);
	return *(volatile int *)null_address;
}

static int aborts(void)
{
	work(11, 50);
	abort();
}

static int killed(void)
{
	work(12, 50);
	kill(getpid(), SIGTERM);
	return 1;
}

static volatile sig_atomic_t ticks;

static void on_tick(int number)
{
	(void)number;
	ticks++;
}

/* A timer's signals go to this thread; system calls are interrupted by them alone. */
static int ticking(void)
{
	struct itimerspec period = { { 0, 2000000 }, { 0, 2000000 } };
	struct sigaction action = { .sa_handler = on_tick };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
	sigset_t pending;
	timer_t timer;

	sigaction(SIGALRM, &action, NULL);
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &period, NULL);
	work(13, 300);
	printf("ticked: %d\n", ticks > 10);
	printf("pause: %d\n", pause());
	timer_delete(timer);
	sigpending(&pending);
	printf("pending: %d\n", sigismember(&pending, SIGSEGV));
	return 0;
}

static int limits(void)
{
	struct rlimit none = { 3, 3 };
	struct rlimit now;
	uint64_t *words = heap_make(14);

	printf("setrlimit: %d\n", setrlimit(RLIMIT_NOFILE, &none));
	heap_use(words, 14, 200);
	getrlimit(RLIMIT_NOFILE, &now);
	printf("limit: %lu\n", (unsigned long)now.rlim_cur);
	printf("open: %d\n", open("/dev/null", O_RDONLY));
	return 0;
}

/* What was root is nobody; a child begins as that. */
static int other_user(void)
{
	uint64_t *words = heap_make(15);
	pid_t pid;

	heap_use(words, 15, 50);
	printf("setgid: %d\n", setgid(65534));
	printf("setuid: %d\n", setuid(65534));
	printf("user: %d\n", (int)getuid());
	fflush(stdout);
	free(words);
	words = heap_make(15);
	heap_use(words, 15, 100);
	pid = fork();
	if (!pid) {
		free(words);
		work(16, 50);
		_exit(system("exit 9") == 9 << 8 ? 4 : 5);
	}
	printf("child: %d\n", wait_for(pid));
	return 0;
}

/* Memory that comes and goes, and changes its rights. */
static int churn(void)
{
	const size_t page = 4096;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < 500; i++) {
		size_t bytes = (1 + i * 37 % 300) * page;
		unsigned char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		memset(at, (int)(i & 0xff), bytes);
		if (i % 5 == 0)
			madvise(at, bytes / 2 / page * page, MADV_DONTNEED);
		if (i % 7 == 0)
			mprotect(at, page, PROT_READ);
		for (size_t offset = 0; offset < bytes; offset += page)
			sum = sum * 31 + at[offset];
		munmap(at, bytes);
	}
	printf("sum: %lx\n", (unsigned long)sum);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
} cases[] = {
	{ "aborts", aborts },
	{ "children", children },
	{ "churn", churn },
	{ "closed", closed },
	{ "descriptors", descriptors },
	{ "environment", environment },
	{ "fault", fault },
	{ "first_thread_ends", first_thread_ends },
	{ "handled_fault", handled_fault },
	{ "killed", killed },
	{ "limits", limits },
	{ "other_user", other_user },
	{ "print", print },
	{ "threads_that_fork", threads_that_fork },
	{ "ticking", ticking },
};

int main(int argc, char **argv)
{
	self = argv[0];
	for (size_t i = 0; argc == 2 && i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(cases[i].name, argv[1]) == 0)
			return cases[i].run();
	}
	fprintf(stderr, "behave CASE\n");
	return 2;
}
