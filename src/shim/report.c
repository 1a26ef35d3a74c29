/* SPDX-License-Identifier: MIT */
/*
 * DOC: Reports
 *
 * Where `usvm run` wants to know what its processes did, the tree has a folder `report`.
 * A process that opens a card makes a file there, and fills it at its end: by exit() or
 * _exit(). Threads that end it at the same time wait for the one that writes.
 *
 * The file stays empty where a signal ended the process, or another program took its place
 * (exec); where it became a user who may not write it; and where a handler of a signal ends
 * it on a thread of the library, or out of the report itself: such a thread may hold what the
 * report needs. A handler that interrupts a call to a card may end the process: the thread may
 * hold a lock of the card then, and the report waits for nobody.
 */
#include "shim/shim_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/host.h"
#include "base/text.h"

#define REPORT_BYTES_MAX 32768

static uint32_t owner;   /* atomic: the process that has a file; children inherit it */
static uint32_t written; /* atomic: the process whose report is there, or in the making */
static uint32_t ended;   /* atomic: the process whose report is over */
static _Thread_local bool writes; /* this thread makes it */
static _Thread_local uint32_t inside; /* calls to a card that it stands in */

void shim_card_enter(void)
{
	inside++;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

void shim_card_leave(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	inside--;
}

static int open_report(int flags)
{
	const char *root = shim_environment("USVM_XE_ROOT");
	char path[SHIM_PATH_MAX];
	struct text text;

	if (!root)
		return -1;
	text_init(&text, path, sizeof(path));
	text_string(&text, root);
	text_string(&text, "/report/");
	text_number(&text, (uint64_t)getpid());
	return shim_real()->open(path, O_WRONLY | O_CLOEXEC | flags, 0644);
}

void shim_report_begin(void)
{
	int saved = errno;
	int fd = open_report(O_CREAT);

	if (fd >= 0) {
		ATOMIC_STORE(&owner, (uint32_t)getpid());
		shim_real()->close(fd);
	}
	errno = saved;
}

static void write_report(void)
{
	static char text[REPORT_BYTES_MAX];
	size_t bytes = 0;
	int fd;

	for (uint32_t i = 0; i < SHIM_CARDS_MAX; i++) {
		struct xe_card *card = shim_opened_card(i);

		if (card)
			bytes += xe_report_text(card, inside > 0, text + bytes,
						sizeof(text) - bytes);
	}
	fd = open_report(O_APPEND);
	if (fd < 0)
		return;
	if (write(fd, text, bytes) != (ssize_t)bytes)
		shim_log("a report could not be written");
	shim_real()->close(fd);
}

void shim_report_end(void)
{
	uint32_t pid = (uint32_t)getpid();

	if (ATOMIC_LOAD(&owner) != pid || base_host->self()->is_library || writes)
		return;
	if (ATOMIC_EXCHANGE(&written, pid) == pid) {
		while (ATOMIC_LOAD(&ended) != pid)
			sched_yield();
		return;
	}
	writes = true;
	write_report();
	ATOMIC_STORE(&ended, pid);
	writes = false;
}

__attribute__((destructor)) static void at_exit(void)
{
	shim_report_end();
}

SHIM_EXPORT _Noreturn void _exit(int status)
{
	shim_report_end();
	shim_real()->_exit(status);
}

SHIM_EXPORT _Noreturn void _Exit(int status)
{
	shim_report_end();
	shim_real()->_exit(status);
}
