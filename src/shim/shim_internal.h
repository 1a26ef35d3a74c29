/* SPDX-License-Identifier: MIT */
/*
 * shim/shim_internal.h - what the files of the preloaded library share.
 *
 *     real.c           the C library's own functions, behind ours
 *     paths.c          which paths lead into the shadow tree
 *     nodes.c          cards: opened when first used, again in a child of fork
 *     descriptors.c    which descriptor is a file of a card
 *     fdinfo.c         /proc/self/fdinfo of a card's descriptor
 *     report.c         what a process did, for who started it
 *     preload_*.c      the functions that a program calls instead of the C library's
 *
 * The shadow tree is a folder of real files that `usvm run` made: $USVM_XE_ROOT/dev/dri,
 * .../sys/class/drm and so on. Opening, listing and reading are the kernel's work; what is
 * left to pretend is that a node is a character device and that it has ioctls.
 *
 * A program's functions run here before any constructor of ours: everything is initialised
 * when it is used first. State is plain static memory: it has to survive a fork.
 */
#ifndef SHIM_SHIM_INTERNAL_H
#define SHIM_SHIM_INTERNAL_H

/* open() and open64() are two functions here, not one under two names. */
#undef _FILE_OFFSET_BITS

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "xe/xe.h"

#define SHIM_PATH_MAX 4096
#define SHIM_CARDS_MAX 8
#define SHIM_DRM_MAJOR 226
#define SHIM_RENDER_MINOR 128

#define SHIM_EXPORT __attribute__((visibility("default")))

/* --- real.c ---------------------------------------------------------------------- */

/* The next function of each name. */
struct shim_real {
	int (*open)(const char *path, int flags, ...);
	int (*openat)(int dir, const char *path, int flags, ...);
	FILE *(*fopen)(const char *path, const char *mode);
	DIR *(*opendir)(const char *path);
	int (*close)(int fd);
	int (*dup)(int fd);
	int (*dup2)(int from, int to);
	int (*dup3)(int from, int to, int flags);
	int (*fcntl)(int fd, int command, ...);
	int (*ioctl)(int fd, unsigned long request, ...);
	void *(*mmap)(void *addr, size_t bytes, int prot, int flags, int fd, off_t offset);
	int (*munmap)(void *addr, size_t bytes);
	void *(*mremap)(void *addr, size_t bytes, size_t new_bytes, int flags, ...);
	int (*stat)(const char *path, struct stat *st);
	int (*lstat)(const char *path, struct stat *st);
	int (*fstat)(int fd, struct stat *st);
	int (*fstatat)(int dir, const char *path, struct stat *st, int flags);
	int (*access)(const char *path, int mode);
	int (*faccessat)(int dir, const char *path, int mode, int flags);
	ssize_t (*readlink)(const char *path, char *to, size_t bytes);
	ssize_t (*readlinkat)(int dir, const char *path, char *to, size_t bytes);
	char *(*realpath)(const char *path, char *resolved);
	int (*mount)(const char *source, const char *target, const char *type,
		     unsigned long flags, const void *data);
	int (*scandir)(const char *path, struct dirent ***names,
		       int (*filter)(const struct dirent *),
		       int (*compare)(const struct dirent **, const struct dirent **));
	int (*scandir64)(const char *path, struct dirent64 ***names,
			 int (*filter)(const struct dirent64 *),
			 int (*compare)(const struct dirent64 **, const struct dirent64 **));
	int (*fstatfs)(int fd, struct statfs *fs);
	int (*statfs)(const char *path, struct statfs *fs);
	ssize_t (*getxattr)(const char *path, const char *name, void *value, size_t bytes);
	ssize_t (*lgetxattr)(const char *path, const char *name, void *value, size_t bytes);
	ssize_t (*listxattr)(const char *path, char *list, size_t bytes);
	ssize_t (*llistxattr)(const char *path, char *list, size_t bytes);
	int (*statx)(int dir, const char *path, int flags, unsigned int mask,
		     struct statx *stx);
	void (*_exit)(int status) __attribute__((noreturn));
};

const struct shim_real *shim_real(void);

/* --- paths.c ---------------------------------------------------------------------- */

/** shim_is_on() - `usvm run` started this process */
bool shim_is_on(void);

/** shim_path() - where @path really is: itself, or @buffer with the place in the tree */
const char *shim_path(const char *path, char buffer[SHIM_PATH_MAX]);

/** shim_path_at() - the same, where @dir may be a folder of the tree. Return: NULL: leave
 * @dir and @path as they are. What is returned may lie outside of the tree. */
const char *shim_path_at(int dir, const char *path, char buffer[SHIM_PATH_MAX]);

/** shim_is_in_tree() - does @path, of the file system, lie in the tree? shim_is_on() was true. */
bool shim_is_in_tree(const char *path);

/** shim_unpath() - a path that begins with the tree's: without. Return: its length. */
size_t shim_unpath(char *path, size_t length);

/** shim_is_sysfs() - @path, of the file system, is a file of the tree's /sys */
bool shim_is_sysfs(const char *path);

/** shim_descriptor_path() - where @fd leads. Return: false: nowhere that has a name. */
bool shim_descriptor_path(int fd, char path[SHIM_PATH_MAX]);

/** shim_own_descriptor() - the number N if @path is /proc/self/fd/N; else -1 */
int shim_own_descriptor(const char *path);

/** shim_environment() - as getenv(), for programs that empty their environment as well */
const char *shim_environment(const char *name);

/* --- nodes.c ----------------------------------------------------------------------- */

struct shim_node {
	uint32_t card;
	uint32_t minor;
};

/** shim_find_node() - is it a card's, by what the tree's file is? */
bool shim_find_node(const struct stat *st, struct shim_node *node);

/** shim_pretend() - @st is of a node of the tree: make it a character device */
void shim_pretend(struct stat *st);

/** shim_card() - the card, opened now if it was not. Return: 0 or -errno. */
MUST_CHECK int shim_card(uint32_t index, struct xe_card **card);

/** shim_opened_card() - the card if this process has opened it; else NULL */
struct xe_card *shim_opened_card(uint32_t index);

/** shim_before_unmap() - what is mapped there is about to go: cards whose jobs use it are waited
 * for */
void shim_before_unmap(uint64_t addr, size_t bytes);

/** shim_epoch() - changes in a child of fork: what was opened before is no more */
uint32_t shim_epoch(void);

/** shim_text_file() - a descriptor of a file whose text is made now; -1: @path is none */
int shim_text_file(const char *path, int flags);

/** shim_memory_file() - a descriptor of a file of @text, at its begin; -1: it cannot be had */
int shim_memory_file(const char *name, const char *text, size_t bytes, int flags);

/** shim_log() - one line, to where USVM_LOG says; nowhere without it */
void shim_log(const char *text);

/* --- fdinfo.c ----------------------------------------------------------------------- */

/** shim_fdinfo_file() - a descriptor of what is to be told of a card's descriptor;
 * -1: @path, in @dir, is no fdinfo of one */
int shim_fdinfo_file(int dir, const char *path, int flags);

/* --- report.c ---------------------------------------------------------------------- */

/** shim_report_begin() - this process has opened a card */
void shim_report_begin(void);
/** shim_report_end() - this process ends now */
void shim_report_end(void);
/** shim_card_enter() - this thread calls a card, and may hold its locks until
 * shim_card_leave(); calls nest */
void shim_card_enter(void);
void shim_card_leave(void);

/* --- descriptors.c ------------------------------------------------------------------ */

/** shim_opened() - @fd was opened now; if it is a node it becomes a file of its card.
 * Return: @fd. */
int shim_opened(int fd);
/** shim_duplicated() - @to names the same file as @from now. Return: @to. */
int shim_duplicated(int from, int to);
/** shim_closing() - @fd is about to be closed */
void shim_closing(int fd);
/** shim_is_card() - is @fd a file of a card? */
bool shim_is_card(int fd);
/** shim_card_of() - the card that @fd is a file of, opened if it was not; NULL: none */
struct xe_card *shim_card_of(int fd);
/** shim_ioctl() - Return: -errno or 0; -ENXIO: @fd is no file of a card. */
int shim_ioctl(int fd, unsigned long request, uint64_t argument);

/** shim_fdinfo_text() - what its card tells of @fd. Return: bytes; 0: nothing. */
size_t shim_fdinfo_text(int fd, char *text, size_t bytes);

/** shim_map() - mmap() of @fd, a file of a card. Return: 0; -errno. */
int shim_map(int fd, uint64_t at, size_t bytes, bool writes, uint64_t offset, uint64_t *addr);

#endif
