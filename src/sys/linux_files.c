/* SPDX-License-Identifier: MIT */
/*
 * DOC: descriptors and small files, without the C library
 *
 * A private file table is one that only threads of the library use. The
 * program cannot close what is in it, its children do not inherit it, and it
 * keeps nothing of the program's open: a pipe whose end was merely inherited
 * here would never tell its reader that it ended. So the table is emptied the
 * moment it exists, standard streams too. Whatever writes to descriptor 2 must
 * not hit a userfaultfd, so what can only be read comes first and has 0 to 2:
 *
 *     0 maps   1 pagemap   2 the threads   3 the eventfd   4 the userfaultfd
 *
 * RLIMIT_NOFILE holds for this table as well. With 5, or with anything once these
 * are open, all works that needs no other descriptor for a moment: what a thread
 * sleeps in cannot be told then (so it counts as being in madvise()), nor what
 * MADV_WIPEONFORK covers.
 *
 * Threads that share a table learn its descriptors from their creator, by
 * value (struct linux_tls), so nobody has to own them: the kernel closes them
 * when the last thread of the table is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>

#include "sys/linux_abi.h"
#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

int linux_open(const char *path, int flags)
{
	return (int)linux_call(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
}

void linux_close(int fd)
{
	if (fd >= 0)
		linux_call(SYS_close, fd);
}

int64_t linux_read_file(const char *path, char *text, size_t max)
{
	int fd = linux_open(path, O_RDONLY);
	size_t used = 0;
	int64_t got;

	if (fd < 0)
		return fd;
	do {
		got = linux_call(SYS_read, fd, text + used, max - 1 - used);
		if (got > 0)
			used += (size_t)got;
	} while (got > 0 && used < max - 1);
	linux_close(fd);
	if (got < 0)
		return got;
	text[used] = '\0';
	return (int64_t)used;
}

uint64_t linux_take_number(const char **text, uint32_t base)
{
	const char *at = *text;
	uint64_t number = 0;

	for (;; at++) {
		uint32_t digit;

		if (*at >= '0' && *at <= '9')
			digit = (uint32_t)(*at - '0');
		else if (*at >= 'a' && *at <= 'f')
			digit = (uint32_t)(*at - 'a') + 10;
		else
			break;
		if (digit >= base)
			break;
		number = number * base + digit;
	}
	*text = at;
	return number;
}

int linux_number_dir_open(struct linux_number_dir *dir, const char *path)
{
	dir->fd = linux_open(path, O_RDONLY | O_DIRECTORY);
	dir->next = 0;
	dir->used = 0;
	return dir->fd < 0 ? dir->fd : 0;
}

int linux_number_dir_next(struct linux_number_dir *dir, uint32_t *number)
{
	for (;;) {
		const struct abi_dirent *entry;
		const char *name;

		if (dir->next >= dir->used) {
			int64_t got = linux_call(SYS_getdents64, dir->fd,
						 dir->buffer,
						 sizeof(dir->buffer));

			if (got <= 0)
				return (int)got;
			dir->used = (size_t)got;
			dir->next = 0;
		}
		entry = (const void *)(dir->buffer + dir->next);
		dir->next += entry->record_bytes;
		name = entry->name;
		if (*name < '0' || *name > '9')
			continue;
		*number = (uint32_t)linux_take_number(&name, 10);
		return 1;
	}
}

void linux_number_dir_close(struct linux_number_dir *dir)
{
	linux_close(dir->fd);
	dir->fd = -1;
}

int linux_tasks_open(struct linux_sys *sys, struct linux_number_dir *dir)
{
	int own = linux_tls.files.tasks;

	lock_acquire(&sys->tasks_lock);
	if (own < 0)
		return linux_number_dir_open(dir, "/proc/self/task");
	dir->fd = own;
	dir->next = 0;
	dir->used = 0;
	return (int)linux_call(SYS_lseek, own, 0, SEEK_SET);
}

void linux_tasks_close(struct linux_sys *sys, struct linux_number_dir *dir)
{
	linux_files_return(linux_tls.files.tasks, dir->fd);
	lock_release(&sys->tasks_lock);
}

/* Kernels before 5.9 have no close_range(): close what is listed. */
static int close_everything(void)
{
	struct linux_number_dir dir;
	uint32_t fd = 0;
	int err;

	err = linux_number_dir_open(&dir, "/proc/thread-self/fd");
	if (err)
		return err;
	while ((err = linux_number_dir_next(&dir, &fd)) > 0) {
		if ((int)fd != dir.fd)
			linux_close((int)fd);
	}
	linux_number_dir_close(&dir);
	return err;
}

int linux_files_become_private(void)
{
	struct linux_files *files = &linux_tls.files;
	int64_t err = linux_call(ABI_CALL_CLOSE_RANGE, 0, ~0u,
				 ABI_CLOSE_RANGE_UNSHARE);

	if (err == -ENOSYS || err == -EINVAL) {
		err = linux_call(SYS_unshare, CLONE_FILES);
		if (!err)
			err = close_everything();
	}
	if (err)
		return (int)err;

	linux_tls.private_files = true;
	files->maps = linux_open("/proc/thread-self/maps", O_RDONLY);
	if (files->maps < 0)
		return files->maps;
	files->pagemap = linux_open("/proc/thread-self/pagemap", O_RDONLY);
	if (files->pagemap < 0)
		return files->pagemap;
	files->tasks = linux_open("/proc/self/task", O_RDONLY | O_DIRECTORY);
	if (files->tasks < 0)
		return files->tasks;
	files->kick = (int)linux_call(SYS_eventfd2, 0,
				      EFD_CLOEXEC | EFD_NONBLOCK);
	if (files->kick < 0)
		return files->kick;
	/* Without it uffd_wait() has a timer of its own each time. */
	files->alarm = (int)linux_call(SYS_timerfd_create, CLOCK_MONOTONIC,
				       TFD_CLOEXEC | TFD_NONBLOCK);
	return 0;
}

int linux_files_borrow(int own, const char *path, int *fd)
{
	*fd = own >= 0 ? own : linux_open(path, O_RDONLY);
	return *fd < 0 ? *fd : 0;
}

void linux_files_return(int own, int fd)
{
	if (fd != own)
		linux_close(fd);
}
