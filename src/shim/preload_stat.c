/* SPDX-License-Identifier: MIT */
/*
 * DOC: Functions that look
 *
 * stat() and its kin say "character device" of a node; links that lead through the shadow
 * tree are told as if they did not; the tree's /sys says that it is sysfs.
 */
#include "shim/shim_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

char *__realpath_chk(const char *path, char *resolved, size_t bytes);

/* What clients of sysfs look for. */
#define SYSFS_MAGIC 0x62656572

_Static_assert(sizeof(struct statfs) == sizeof(struct statfs64), "one layout for both");
_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "one layout for both");

static int pretend(int result, struct stat *st)
{
	if (!result)
		shim_pretend(st);
	return result;
}

SHIM_EXPORT int stat(const char *path, struct stat *st)
{
	char buffer[SHIM_PATH_MAX];

	return pretend(shim_real()->stat(shim_path(path, buffer), st), st);
}

SHIM_EXPORT int stat64(const char *path, struct stat64 *st)
{
	return stat(path, (struct stat *)(void *)st);
}

SHIM_EXPORT int lstat(const char *path, struct stat *st)
{
	char buffer[SHIM_PATH_MAX];

	return pretend(shim_real()->lstat(shim_path(path, buffer), st), st);
}

SHIM_EXPORT int lstat64(const char *path, struct stat64 *st)
{
	return lstat(path, (struct stat *)(void *)st);
}

SHIM_EXPORT int fstat(int fd, struct stat *st)
{
	return pretend(shim_real()->fstat(fd, st), st);
}

SHIM_EXPORT int fstat64(int fd, struct stat64 *st)
{
	return fstat(fd, (struct stat *)(void *)st);
}

SHIM_EXPORT int fstatat(int dir, const char *path, struct stat *st, int flags)
{
	char buffer[SHIM_PATH_MAX];
	const char *real = shim_path_at(dir, path, buffer);

	if (real)
		dir = AT_FDCWD;
	return pretend(shim_real()->fstatat(dir, real ? real : path, st, flags), st);
}

SHIM_EXPORT int fstatat64(int dir, const char *path, struct stat64 *st, int flags)
{
	return fstatat(dir, path, (struct stat *)(void *)st, flags);
}

SHIM_EXPORT int access(const char *path, int mode)
{
	char buffer[SHIM_PATH_MAX];

	return shim_real()->access(shim_path(path, buffer), mode);
}

SHIM_EXPORT int faccessat(int dir, const char *path, int mode, int flags)
{
	char buffer[SHIM_PATH_MAX];
	const char *real = shim_path_at(dir, path, buffer);

	if (real)
		dir = AT_FDCWD;
	return shim_real()->faccessat(dir, real ? real : path, mode, flags);
}

/* The whole link, then what of it fits. */
static ssize_t read_link(int dir, const char *path, char *to, size_t bytes)
{
	char link[SHIM_PATH_MAX];
	ssize_t length = shim_real()->readlinkat(dir, path, link, sizeof(link));

	if (length < 0)
		return length;
	length = (ssize_t)shim_unpath(link, (size_t)length);
	length = MIN(length, (ssize_t)bytes);
	memcpy(to, link, (size_t)length);
	return length;
}

SHIM_EXPORT ssize_t readlink(const char *path, char *to, size_t bytes)
{
	char buffer[SHIM_PATH_MAX];

	return read_link(AT_FDCWD, shim_path(path, buffer), to, bytes);
}

SHIM_EXPORT ssize_t readlinkat(int dir, const char *path, char *to, size_t bytes)
{
	char buffer[SHIM_PATH_MAX];
	const char *real = shim_path_at(dir, path, buffer);

	return read_link(real ? AT_FDCWD : dir, real ? real : path, to, bytes);
}

static char *real_path(const char *path, char *resolved)
{
	char buffer[SHIM_PATH_MAX];
	char *result = shim_real()->realpath(shim_path(path, buffer), resolved);

	if (result)
		result[shim_unpath(result, strlen(result))] = 0;
	return result;
}

SHIM_EXPORT char *realpath(const char *path, char *resolved)
{
	return real_path(path, resolved);
}

SHIM_EXPORT char *__realpath_chk(const char *path, char *resolved, size_t bytes UNUSED)
{
	return real_path(path, resolved);
}

SHIM_EXPORT int scandir(const char *path, struct dirent ***names,
			int (*filter)(const struct dirent *),
			int (*compare)(const struct dirent **, const struct dirent **))
{
	char buffer[SHIM_PATH_MAX];

	return shim_real()->scandir(shim_path(path, buffer), names, filter, compare);
}

/* Files of the tree have no attributes, whatever the file system below it keeps.
 * Return: 0: @path is not of the tree; ENOTSUP; why it cannot be looked at. */
static int tree_attributes(const char *path)
{
	char buffer[SHIM_PATH_MAX];
	const char *real = shim_path(path, buffer);
	struct stat st;

	if (real == path)
		return 0;
	return shim_real()->lstat(real, &st) ? errno : ENOTSUP;
}

static ssize_t get_attribute(ssize_t (*get)(const char *, const char *, void *, size_t),
			     const char *path, const char *name, void *value, size_t bytes)
{
	int error = tree_attributes(path);

	if (!error)
		return get(path, name, value, bytes);
	errno = error;
	return -1;
}

static ssize_t list_attributes(ssize_t (*list)(const char *, char *, size_t), const char *path,
			       char *names, size_t bytes)
{
	int error = tree_attributes(path);

	if (!error)
		return list(path, names, bytes);
	if (error == ENOTSUP)
		return 0;
	errno = error;
	return -1;
}

SHIM_EXPORT ssize_t getxattr(const char *path, const char *name, void *value, size_t bytes)
{
	return get_attribute(shim_real()->getxattr, path, name, value, bytes);
}

SHIM_EXPORT ssize_t lgetxattr(const char *path, const char *name, void *value, size_t bytes)
{
	return get_attribute(shim_real()->lgetxattr, path, name, value, bytes);
}

SHIM_EXPORT ssize_t listxattr(const char *path, char *names, size_t bytes)
{
	return list_attributes(shim_real()->listxattr, path, names, bytes);
}

SHIM_EXPORT ssize_t llistxattr(const char *path, char *names, size_t bytes)
{
	return list_attributes(shim_real()->llistxattr, path, names, bytes);
}

SHIM_EXPORT int fstatfs(int fd, struct statfs *fs)
{
	char path[SHIM_PATH_MAX];
	int result = shim_real()->fstatfs(fd, fs);

	if (!result && shim_is_on() && shim_descriptor_path(fd, path) && shim_is_sysfs(path))
		fs->f_type = SYSFS_MAGIC;
	return result;
}

SHIM_EXPORT int fstatfs64(int fd, struct statfs64 *fs)
{
	return fstatfs(fd, (struct statfs *)(void *)fs);
}

SHIM_EXPORT int statfs(const char *path, struct statfs *fs)
{
	char buffer[SHIM_PATH_MAX];
	const char *real = shim_path(path, buffer);
	int result = shim_real()->statfs(real, fs);

	if (!result && real != path && shim_is_sysfs(real))
		fs->f_type = SYSFS_MAGIC;
	return result;
}

SHIM_EXPORT int statfs64(const char *path, struct statfs64 *fs)
{
	return statfs(path, (struct statfs *)(void *)fs);
}

SHIM_EXPORT int statx(int dir, const char *restrict path, int flags, unsigned int mask,
		      struct statx *restrict stx)
{
	char buffer[SHIM_PATH_MAX];
	const char *real = shim_path_at(dir, path, buffer);
	struct shim_node node;
	struct stat st = { 0 };
	int result;

	result = shim_real()->statx(real ? AT_FDCWD : dir, real ? real : path, flags, mask, stx);
	if (result)
		return result;
	st.st_dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);
	st.st_ino = stx->stx_ino;
	if (S_ISREG(stx->stx_mode) && shim_find_node(&st, &node)) {
		stx->stx_mode = S_IFCHR | 0660;
		stx->stx_rdev_major = SHIM_DRM_MAJOR;
		stx->stx_rdev_minor = node.minor;
		stx->stx_size = 0;
		stx->stx_blocks = 0;
	}
	return 0;
}

SHIM_EXPORT int scandir64(const char *path, struct dirent64 ***names,
			  int (*filter)(const struct dirent64 *),
			  int (*compare)(const struct dirent64 **, const struct dirent64 **))
{
	char buffer[SHIM_PATH_MAX];

	return shim_real()->scandir64(shim_path(path, buffer), names, filter, compare);
}
