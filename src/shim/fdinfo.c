/* SPDX-License-Identifier: MIT */
/*
 * DOC: /proc/self/fdinfo
 *
 * What the kernel tells of a descriptor ends, where it is a card's, with what the driver would:
 * memory and engines of that client. A process is told of itself alone; another one that looks
 * at it sees what the kernel has.
 */
#include "shim/shim_internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

#define TEXT_BYTES_MAX 4096

/* What stands behind @prefix in @path; NULL: it begins otherwise. */
static const char *behind(const char *path, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(path, prefix, length) ? NULL : path + length;
}

static const char *behind_own_process(const char *path)
{
	const char *at = behind(path, "/proc/"), *rest;
	char *end;

	if (!at)
		return NULL;
	rest = behind(at, "self/");
	if (!rest)
		rest = behind(at, "thread-self/");
	if (rest)
		return rest;
	if (strtol(at, &end, 10) != getpid() || *end != '/')
		return NULL;
	return end + 1;
}

/* N of /proc/self/fdinfo/N; -1: @path is no such. */
static int number_in(const char *path)
{
	const char *at = behind_own_process(path);
	char *end;
	long number;

	at = at ? behind(at, "fdinfo/") : NULL;
	if (!at || *at < '0' || *at > '9')
		return -1;
	number = strtol(at, &end, 10);
	return *end || number > INT32_MAX ? -1 : (int)number;
}

/* The same where @dir may be the folder. */
static int number_at(int dir, const char *path)
{
	char folder[SHIM_PATH_MAX];
	struct text text;

	if (path[0] == '/')
		return number_in(path);
	if (dir == AT_FDCWD || strspn(path, "0123456789") != strlen(path) ||
	    !shim_descriptor_path(dir, folder) ||
	    strlen(folder) + 1 + strlen(path) >= sizeof(folder))
		return -1;
	text_init(&text, folder + strlen(folder), sizeof(folder) - strlen(folder));
	text_string(&text, "/");
	text_string(&text, path);
	return number_in(folder);
}

static size_t kernels_text(int fd, char *to, size_t bytes)
{
	char path[64];
	struct text text;
	ssize_t length;
	int file;

	text_init(&text, path, sizeof(path));
	text_string(&text, "/proc/self/fdinfo/");
	text_number(&text, (uint64_t)fd);
	file = shim_real()->open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return 0;
	length = read(file, to, bytes);
	shim_real()->close(file);
	return length > 0 ? (size_t)length : 0;
}

int shim_fdinfo_file(int dir, const char *path, int flags)
{
	char text[TEXT_BYTES_MAX];
	size_t bytes, more;
	int fd;

	if (!path || !shim_is_on() || (flags & O_ACCMODE) != O_RDONLY || (flags & O_PATH))
		return -1;
	fd = number_at(dir, path);
	if (fd < 0 || !shim_is_card(fd))
		return -1;
	bytes = kernels_text(fd, text, sizeof(text) / 2);
	more = shim_fdinfo_text(fd, text + bytes, sizeof(text) - bytes);
	return bytes && more ? shim_memory_file("fdinfo", text, bytes + more, flags) : -1;
}
