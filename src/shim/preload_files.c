/* SPDX-License-Identifier: MIT */
/*
 * DOC: Functions that open, duplicate and close
 *
 * Each does what the C library's does, at another path, and notes what came of it. The C
 * library calls its own functions directly, so that fopen() does not pass through open()
 * here: every way in has a function of its own.
 */
#include "shim/shim_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

/* The headers of some systems declare these only with fortification. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);

static bool has_mode(int flags)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

/* Another open of the file that a descriptor of ours names. */
static bool is_own_card(const char *path)
{
	int fd = shim_own_descriptor(path);

	return fd >= 0 && shim_is_card(fd);
}

static int open_any(const char *path, int flags, mode_t mode)
{
	char buffer[SHIM_PATH_MAX];
	const char *real = shim_path(path, buffer);
	int fd;

	if (real == path) {
		fd = shim_fdinfo_file(AT_FDCWD, path, flags);
		if (fd >= 0)
			return fd;
	}
	if (real == path && !is_own_card(path))
		return shim_opened(shim_real()->open(path, flags, mode));
	fd = shim_text_file(real, flags);
	if (fd < 0)
		fd = shim_real()->open(real, flags & ~(O_CREAT | O_TRUNC), mode);
	return shim_opened(fd);
}

static int openat_any(int dir, const char *path, int flags, mode_t mode)
{
	char buffer[SHIM_PATH_MAX];
	const char *real = shim_path_at(dir, path, buffer);
	int fd = real ? -1 : shim_fdinfo_file(dir, path, flags);

	if (fd >= 0)
		return fd;
	if (!real)
		return shim_opened(shim_real()->openat(dir, path, flags, mode));
	if (!shim_is_in_tree(real))
		return shim_opened(shim_real()->open(real, flags, mode));
	fd = shim_text_file(real, flags);
	if (fd < 0)
		fd = shim_real()->open(real, flags & ~(O_CREAT | O_TRUNC), mode);
	return shim_opened(fd);
}

#define TAKE_MODE(flags, mode)                        \
	do {                                          \
		va_list args_;                        \
                                                      \
		va_start(args_, flags);               \
		if (has_mode(flags))                  \
			mode = va_arg(args_, mode_t); \
		va_end(args_);                        \
	} while (0)

SHIM_EXPORT int open(const char *path, int flags, ...)
{
	mode_t mode = 0;

	TAKE_MODE(flags, mode);
	return open_any(path, flags, mode);
}

SHIM_EXPORT int open64(const char *path, int flags, ...)
{
	mode_t mode = 0;

	TAKE_MODE(flags, mode);
	return open_any(path, flags, mode);
}

SHIM_EXPORT int openat(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;

	TAKE_MODE(flags, mode);
	return openat_any(dir, path, flags, mode);
}

SHIM_EXPORT int openat64(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;

	TAKE_MODE(flags, mode);
	return openat_any(dir, path, flags, mode);
}

SHIM_EXPORT int __open_2(const char *path, int flags)
{
	return open_any(path, flags, 0);
}

SHIM_EXPORT int __open64_2(const char *path, int flags)
{
	return open_any(path, flags, 0);
}

SHIM_EXPORT int __openat_2(int dir, const char *path, int flags)
{
	return openat_any(dir, path, flags, 0);
}

SHIM_EXPORT int __openat64_2(int dir, const char *path, int flags)
{
	return openat_any(dir, path, flags, 0);
}

static FILE *fopen_any(const char *path, const char *mode)
{
	char buffer[SHIM_PATH_MAX];
	const char *real = shim_path(path, buffer);
	int fd = -1;

	if (real != path)
		fd = shim_text_file(real, O_RDONLY);
	else if (mode && mode[0] == 'r' && !strchr(mode, '+'))
		fd = shim_fdinfo_file(AT_FDCWD, path, O_RDONLY);
	return fd >= 0 ? fdopen(fd, "r") : shim_real()->fopen(real, mode);
}

SHIM_EXPORT FILE *fopen(const char *path, const char *mode)
{
	return fopen_any(path, mode);
}

SHIM_EXPORT FILE *fopen64(const char *path, const char *mode)
{
	return fopen_any(path, mode);
}

SHIM_EXPORT DIR *opendir(const char *path)
{
	char buffer[SHIM_PATH_MAX];

	return shim_real()->opendir(shim_path(path, buffer));
}

SHIM_EXPORT int close(int fd)
{
	shim_closing(fd);
	return shim_real()->close(fd);
}

SHIM_EXPORT int dup(int fd)
{
	return shim_duplicated(fd, shim_real()->dup(fd));
}

SHIM_EXPORT int dup2(int from, int to)
{
	return shim_duplicated(from, shim_real()->dup2(from, to));
}

SHIM_EXPORT int dup3(int from, int to, int flags)
{
	return shim_duplicated(from, shim_real()->dup3(from, to, flags));
}

static int fcntl_any(int fd, int command, void *argument)
{
	int result = shim_real()->fcntl(fd, command, argument);

	if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
		return shim_duplicated(fd, result);
	return result;
}

SHIM_EXPORT int fcntl(int fd, int command, ...)
{
	void *argument;
	va_list args;

	va_start(args, command);
	argument = va_arg(args, void *);
	va_end(args);
	return fcntl_any(fd, command, argument);
}

SHIM_EXPORT int fcntl64(int fd, int command, ...)
{
	void *argument;
	va_list args;

	va_start(args, command);
	argument = va_arg(args, void *);
	va_end(args);
	return fcntl_any(fd, command, argument);
}

SHIM_EXPORT int ioctl(int fd, unsigned long request, ...)
{
	void *argument;
	va_list args;
	int err;

	va_start(args, request);
	argument = va_arg(args, void *);
	va_end(args);
	err = shim_is_card(fd) ? shim_ioctl(fd, request, (uintptr_t)argument) : -ENXIO;
	if (err == -ENXIO)
		return shim_real()->ioctl(fd, request, argument);
	if (!err)
		return 0;
	errno = -err;
	return -1;
}

/* A debug file system is in the tree; the system's own need not be mounted for it. */
SHIM_EXPORT int mount(const char *source, const char *target, const char *type,
		      unsigned long flags, const void *data)
{
	if (shim_is_on() && type && !strcmp(type, "debugfs"))
		return 0;
	return shim_real()->mount(source, target, type, flags, data);
}
