/* SPDX-License-Identifier: MIT */
/*
 * DOC: What rows need of the machine
 *
 * A swap file, a few hugetlb pages, a KSM that scans at once. A guardian process puts
 * back what was: when it is told, or when this process and all its children are gone,
 * however they went.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "matrix.h"

#define SWAP_BYTES (16ul << 20)
#define HUGE_PAGES 4

static const char swap_path[] = "/var/tmp/usvm-matrix-swap";

struct setting {
	uint32_t flag;
	const char *path, *value;
	char old[32];
};

static struct setting settings[] = {
	{ NEEDS_KSM, "/sys/kernel/mm/ksm/sleep_millisecs", "0", "" },
	{ NEEDS_KSM, "/sys/kernel/mm/ksm/pages_to_scan", "4000", "" },
	{ NEEDS_KSM, "/sys/kernel/mm/ksm/run", "1", "" },
	{ NEEDS_HUGETLB, "/proc/sys/vm/nr_hugepages", "4", "" },
};

#define SETTING_COUNT (sizeof(settings) / sizeof(settings[0]))

static uint32_t prepared;
static int guard_end = -1; /* closed: put everything back */
static pid_t guardian;

static bool read_setting(const char *path, char *text, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, bytes - 1);

	if (fd >= 0)
		close(fd);
	if (got <= 0)
		return false;
	text[got] = 0;
	return true;
}

static bool write_setting(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t length = (ssize_t)strlen(text);
	bool done = fd >= 0 && write(fd, text, (size_t)length) == length;

	if (fd >= 0)
		close(fd);
	return done;
}

/* The header of version 1, at the end of the first KiB and of the first page. */
static bool make_swap(void)
{
	static unsigned char page[LIVE_PAGE];
	uint32_t header[3] = { 1, SWAP_BYTES / LIVE_PAGE - 1, 0 };
	int fd = open(swap_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool done = fd >= 0;

	memcpy(page + 1024, header, sizeof(header));
	memcpy(page + LIVE_PAGE - 10, "SWAPSPACE2", 10);
	for (size_t i = 0; done && i < SWAP_BYTES; i += LIVE_PAGE) {
		done = write(fd, page, LIVE_PAGE) == LIVE_PAGE;
		memset(page, 0, sizeof(page));
	}
	done = done && !fsync(fd) && !swapon(swap_path, 0);
	if (fd >= 0)
		close(fd);
	if (!done)
		unlink(swap_path);
	return done;
}

static void restore(void)
{
	if (!swapoff(swap_path))
		unlink(swap_path);
	for (size_t i = 0; i < SETTING_COUNT; i++) {
		if (settings[i].old[0])
			write_setting(settings[i].path, settings[i].old);
	}
}

static void start_guardian(void)
{
	int ends[2];
	char byte;

	for (size_t i = 0; i < SETTING_COUNT; i++) {
		if (!read_setting(settings[i].path, settings[i].old, sizeof(settings[i].old)))
			settings[i].old[0] = 0;
	}
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	fflush(stdout);
	guardian = fork();
	assert_true(guardian >= 0);
	if (guardian == 0) {
		setsid(); /* out of reach of what ends a group */
		close(ends[1]);
		while (read(ends[0], &byte, 1) > 0)
			;
		restore();
		_exit(0);
	}
	close(ends[0]);
	guard_end = ends[1];
}

const char *machine_prepare(uint32_t flags)
{
	char text[32];

	if (!(flags & ROW_MACHINE))
		return NULL;
	if (geteuid() != 0)
		return "settings of the machine are root's";
	if (guard_end < 0)
		start_guardian();
	if (flags & NEEDS_SWAP & ~prepared && !make_swap())
		return "no swap on a file in /var/tmp";
	for (size_t i = 0; i < SETTING_COUNT; i++) {
		if ((settings[i].flag & flags & ~prepared) &&
		    !write_setting(settings[i].path, settings[i].value))
			return settings[i].flag == NEEDS_KSM ? "no KSM here" : "no hugetlb pages";
	}
	prepared |= flags;
	if (flags & NEEDS_HUGETLB &&
	    (!read_setting("/proc/sys/vm/nr_hugepages", text, sizeof(text)) ||
	     atoi(text) < HUGE_PAGES))
		return "no hugetlb pages";
	return NULL;
}

void machine_restore(void)
{
	if (guard_end < 0)
		return;
	close(guard_end);
	guard_end = -1;
	prepared = 0;
	waitpid(guardian, NULL, 0);
}
