/* SPDX-License-Identifier: MIT */
/*
 * DOC: every call fails once, on the real kernel
 *
 *     faults_test [--all] [CALL [N [for-ever]]]
 *
 * A script is run in a process of its own to count the calls of each kind; then once for
 * each order: a call and an error of the table, the Nth alone, and from then on. Threads
 * run as they like, so N is where it is by chance; with --all every N and every device is
 * tried, else some. The script looks at its data; here it is looked at what is left after
 * the close: descriptors, threads, mappings.
 */
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <usvm/usvm.h>

#include "device/faulty.h"
#include "faults/faulty_sys.h"
#include "faults/script.h"
#include "support/fault_table.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define RUN_SECONDS 20
#define NTHS_MAX 4 /* of each call, without --all */
#define STATUS_SKIP 77

static const char *const specs[] = {
	"model:vram=2M,engines=1,mode=move,home=64K",
	"model:vram=2M,engines=2,mode=copy,home=64K",
	"model:vram=2M,engines=2,mode=move,home=4K", /* these with --all */
	"model:vram=2M,engines=1,mode=copy,home=2M",
};

struct order {
	const struct fault *fault; /* NULL: none */
	uint64_t nth;
	bool for_ever;
};

/* Of a run, in memory shared with its process. */
struct outcome {
	struct script_result result;
	uint64_t calls[COUNT(fault_table)];
};

struct usage {
	size_t files, threads, mappings;
};

static struct outcome *outcome;
static int last_words; /* a file: what a process wrote to standard error */
static struct order given;

/* --- in the process of the run --------------------------------------------- */

static size_t entries(const char *path)
{
	DIR *dir = opendir(path);
	size_t count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

static size_t lines(const char *path)
{
	FILE *file = fopen(path, "r");
	size_t count = 0;
	int c;

	while (file && (c = getc(file)) != EOF)
		count += c == '\n';
	if (file)
		fclose(file);
	return count;
}

/* A thread that was joined is still listed for a moment. */
static struct usage usage_now(void)
{
	for (int i = 0; i < 10000 && entries("/proc/self/task") > 3; i++)
		sched_yield();
	return (struct usage){ entries("/proc/self/fd"), entries("/proc/self/task"),
			       lines("/proc/self/maps") };
}

static void give(const struct order *order, bool on)
{
	int error = on && order->fault ? order->fault->error : 0;

	if (!order->fault || faulty_sys_order(order->fault->call, order->nth, error,
					      order->for_ever))
		return;
	for (enum faulty_call call = 0; call < FAULTY_CALLS; call++) {
		if (strcmp(faulty_name(call), order->fault->call) == 0)
			faulty_order(call, order->nth, error, order->for_ever);
	}
}

static void relent(void)
{
	give(&given, false);
}

static uint64_t calls_of(const char *name)
{
	for (enum faulty_call call = 0; call < FAULTY_CALLS; call++) {
		if (strcmp(faulty_name(call), name) == 0)
			return faulty_calls(call);
	}
	return faulty_sys_calls(name);
}

static void run_here(const char *spec)
{
	struct script_result *result = &outcome->result;
	struct usage before, after;

	before = usage_now();
	give(&given, true);
	script_run(spec, given.fault, given.fault && given.fault->loses && given.for_ever,
		   relent, result);
	for (size_t i = 0; i < COUNT(fault_table); i++)
		outcome->calls[i] = calls_of(fault_table[i].call);
	after = usage_now();
	if (result->failed)
		return;
	if (faulty_complaint())
		snprintf(result->text, sizeof(result->text), "%s", faulty_complaint());
	else if (after.files != before.files || after.threads != before.threads ||
		 after.mappings != before.mappings)
		snprintf(result->text, sizeof(result->text),
			 "%zu descriptors, %zu threads, %zu mappings; before: %zu, %zu, %zu",
			 after.files, after.threads, after.mappings, before.files,
			 before.threads, before.mappings);
	else
		return;
	result->failed = true;
}

/* --- the runs --------------------------------------------------------------- */

static bool said(const char *words)
{
	char text[4096];
	ssize_t length = pread(last_words, text, sizeof(text) - 1, 0);

	text[length > 0 ? length : 0] = 0;
	if (words)
		return strstr(text, words);
	printf("%s", text);
	return length > 0;
}

/* How a process ended that a run may end. Return: NULL: as it should. */
static const char *judge(int status)
{
	const struct fault *fault = given.fault;
	bool died = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;

	if (died && fault && fault->ends && said(fault->ends))
		return NULL;
	if (died && fault && fault->may_end && given.for_ever && said(fault->may_end))
		return NULL;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		return "it hangs";
	if (status)
		return WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "it exits";
	if (outcome->result.failed)
		return outcome->result.text;
	if (fault && fault->loses && given.for_ever && given.nth == 1 && !outcome->result.lost)
		return "no page was lost";
	return fault && fault->ends ? "the process goes on" : NULL;
}

/* Return: it failed. */
static bool run_apart(const char *spec, const struct order *order)
{
	const char *wrong;
	int status = -1;
	pid_t pid;

	given = *order;
	memset(outcome, 0, sizeof(*outcome));
	if (ftruncate(last_words, 0) || lseek(last_words, 0, SEEK_SET))
		return true;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		alarm(RUN_SECONDS);
		dup2(last_words, STDERR_FILENO);
		run_here(spec);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		status = -1;
	wrong = judge(status);
	if (!wrong)
		return false;
	if (order->fault)
		printf("FAILED %s: call %lu of %s gives %s%s: %s\n", spec, order->nth,
		       order->fault->call, strerrorname_np(order->fault->error),
		       order->for_ever ? ", and all later ones" : "", wrong);
	else
		printf("FAILED %s: %s\n", spec, wrong);
	said(NULL);
	return true;
}

static unsigned int run_fault(const char *spec, const struct fault *fault, uint64_t calls,
			      bool all, unsigned int *runs)
{
	uint64_t step = all || calls <= NTHS_MAX ? 1 : (calls + NTHS_MAX - 1) / NTHS_MAX;
	unsigned int failures = 0;

	for (uint64_t nth = 1; nth <= calls; nth += step) {
		const struct order once = { fault, nth, false }, ever = { fault, nth, true };

		failures += run_apart(spec, &once);
		*runs += 1;
		if (fault->once_only)
			continue;
		failures += run_apart(spec, &ever);
		*runs += 1;
	}
	return failures;
}

static unsigned int run_spec(const char *spec, bool all, unsigned int *runs)
{
	const struct order none = { .nth = 0 };
	uint64_t calls[COUNT(fault_table)];
	unsigned int failures = 0;

	if (run_apart(spec, &none))
		return 1;
	if (!outcome->result.on_device) {
		printf("FAILED %s: nothing was on the device\n", spec);
		return 1;
	}
	memcpy(calls, outcome->calls, sizeof(calls));
	for (size_t i = 0; i < COUNT(fault_table); i++)
		failures += run_fault(spec, &fault_table[i], calls[i], all, runs);
	return failures;
}

static bool cannot_migrate(void)
{
	struct usvm_device_info info;
	struct usvm *gpu;
	bool cannot;

	if (usvm_open("model:vram=2M", &gpu))
		return false;
	cannot = !usvm_device_info(gpu, &info) && !info.migrates;
	if (cannot)
		printf("SKIP: %s\n", info.why_not);
	return usvm_close(gpu) || cannot;
}

/* One order, once in each device: to look closer at a failure. */
static int run_named(int argc, char **argv)
{
	unsigned int failures = 0;

	for (size_t i = 0; i < COUNT(fault_table); i++) {
		const struct order order = { &fault_table[i],
					     argc > 1 ? strtoul(argv[1], NULL, 10) : 1,
					     argc > 2 };

		for (size_t j = 0; strcmp(fault_table[i].call, argv[0]) == 0 && j < COUNT(specs);
		     j++)
			failures += run_apart(specs[j], &order);
	}
	return failures != 0;
}

int main(int argc, char **argv)
{
	bool all = argc > 1 && strcmp(argv[1], "--all") == 0;
	unsigned int runs = 0, failures = 0;

	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	last_words = memfd_create("last words", MFD_CLOEXEC);
	if (outcome == MAP_FAILED || last_words < 0)
		return 1;
	if (cannot_migrate())
		return STATUS_SKIP;
	if (argc > 1 && !all)
		return run_named(argc - 1, argv + 1);
	for (size_t i = 0; i < (all ? COUNT(specs) : 2); i++)
		failures += run_spec(specs[i], all, &runs);
	printf("%u runs, %u failed\n", runs, failures);
	return failures != 0;
}
