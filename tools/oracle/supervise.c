/* SPDX-License-Identifier: MIT */
/*
 * DOC: The supervisor
 *
 * It has no device and no threads, and shares memory with the round: it sees how far each
 * thread comes. Where none moves any more it tells where each is and in what its threads
 * sleep, and ends the process. What a process that died had begun is in the log.
 */
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oracle.h"

#define TICK_MS 1000

void *shared_memory(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			    0);

	if (memory == MAP_FAILED) {
		perror("usvm oracle: memory");
		exit(1);
	}
	return memory;
}

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
	struct failure *f = &run->failure;
	va_list args;
	int length;

	if (f->text_bytes >= sizeof(f->text))
		return;
	va_start(args, format);
	length = vsnprintf(f->text + f->text_bytes, sizeof(f->text) - f->text_bytes, format,
			   args);
	va_end(args);
	f->text_bytes += length > 0 ? (uint32_t)length : 0;
}

/* --- a hang ---------------- */

static void tell_file(pid_t pid, const char *tid, const char *name)
{
	char path[300], text[256];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/%s", pid, tid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	while (got > 0 && text[got - 1] == '\n')
		got--;
	tell(" %.*s", got > 0 ? (int)got : 0, text);
}

static void tell_threads(pid_t pid)
{
	struct dirent *entry;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		tell("    %s", entry->d_name);
		tell_file(pid, entry->d_name, "comm");
		tell_file(pid, entry->d_name, "wchan");
		tell_file(pid, entry->d_name, "syscall");
		tell("\n");
	}
	if (dir)
		closedir(dir);
}

static void tell_workers(void)
{
	for (uint32_t i = 0; i < run->setting.thread_count; i++) {
		const struct worker *w = &run->workers[i];
		const struct step *s = &w->step;
		const char *doing = LOAD(&w->doing);

		tell("  thread %u: %" PRIu64 " steps, now: %s", i, LOAD(&w->steps),
		     doing ? doing : "nothing yet");
		if (s->order)
			tell("; last: %s, area %u, pages %u+%u",
			     operations[s->operation].name, s->area, s->first, s->count);
		tell("; its queue: %" PRIu64 " pages\n",
		     LOAD(&w->result.progress));
	}
}

static void hang(pid_t pid, uint32_t seconds)
{
	struct failure *f = &run->failure;

	ADD(&f->claimed, 1u);
	f->kind = FAILED_HANG;
	f->text_bytes = 0;
	snprintf(f->what, sizeof(f->what), "no progress");
	tell("  nothing has moved for %u s\n", seconds);
	tell_workers();
	tell("  its threads, by /proc: name, where it sleeps, system call\n");
	tell_threads(pid);
}

/* --- the end of a round ---------------- */

static enum failure_kind ended(int status)
{
	struct failure *f = &run->failure;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && !f->claimed)
		return FAILED_NOT;
	if (f->kind != FAILED_NOT && WIFEXITED(status))
		return f->kind;
	f->kind = FAILED_CRASH;
	f->text_bytes = 0;
	if (WIFSIGNALED(status))
		snprintf(f->what, sizeof(f->what), "%s", strsignal(WTERMSIG(status)));
	else
		snprintf(f->what, sizeof(f->what), "an exit with status %d",
			 WEXITSTATUS(status));
	tell("  the process has died (%s)\n", f->what);
	tell_workers();
	return f->kind;
}

/* What moves while something moves. */
static uint64_t progress(void)
{
	uint64_t sum = LOAD(&run->order_next) + LOAD(&run->log.count);

	for (uint32_t i = 0; i < run->setting.thread_count; i++)
		sum += LOAD(&run->workers[i].steps) + LOAD(&run->workers[i].result.progress);
	return sum;
}

static void reset(void)
{
	memset(&run->failure, 0, sizeof(run->failure));
	memset(run->workers, 0, sizeof(run->workers));
	memset(&run->log, 0, sizeof(run->log));
	memset(run->counts, 0, sizeof(run->counts));
	memset(run->stats, 0, sizeof(run->stats));
	run->order_next = run->disturbed = run->tag_next = 0;
	run->script_turn = run->script_skipped = 0;
	run->gpu = NULL;
	run->vm = NULL;
}

static pid_t start(bool quiet)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		perror("usvm oracle: fork");
		exit(1);
	}
	if (pid)
		return pid;
	if (quiet) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

		dup2(null, STDERR_FILENO);
	}
	round_main();
}

enum failure_kind supervise(bool quiet, uint32_t still_seconds, void (*tick)(void))
{
	uint64_t seen = 0, since;
	struct pollfd end;
	pid_t pid;
	int status;

	reset();
	pid = start(quiet);
	end = (struct pollfd){ .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	since = now_ns();
	while (poll(&end, 1, TICK_MS) <= 0) {
		uint64_t now = now_ns(), moved = progress();

		if (moved != seen)
			since = now;
		seen = moved;
		if (now - since > still_seconds * 1000000000ull) {
			hang(pid, still_seconds);
			kill(pid, SIGKILL);
		}
		if (tick)
			tick();
	}
	close(end.fd);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return run->failure.kind == FAILED_HANG ? FAILED_HANG : ended(status);
}
