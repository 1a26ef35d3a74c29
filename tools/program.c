/* SPDX-License-Identifier: MIT */
/*
 * DOC: what can be preloaded into
 *
 * The dynamic linker of the C library that usvm was built for loads a library, if the
 * program has one, and if the kernel does not tell it to be careful: a program that gets
 * other rights by being run (set-user-ID and the like) ignores LD_PRELOAD.
 */
#include "program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LINKER "ld-linux-x86-64.so.2"
#define SCRIPT_DEPTH_MAX 4
#define HEAD_BYTES 512
#define PATH_BYTES 4096

static int try_path(const char *path)
{
	struct stat status;

	if (stat(path, &status))
		return -errno;
	if (!S_ISREG(status.st_mode) || access(path, X_OK))
		return -EACCES;
	return 0;
}

int program_find(const char *name, char *path, size_t bytes)
{
	const char *folders = getenv("PATH");
	int err = -ENOENT;

	if (strchr(name, '/')) {
		if ((size_t)snprintf(path, bytes, "%s", name) >= bytes)
			return -ENAMETOOLONG;
		return try_path(path);
	}
	if (!*name)
		return -ENOENT;
	if (!folders)
		folders = "/bin:/usr/bin";
	while (true) {
		size_t length = strcspn(folders, ":");
		int now = -ENAMETOOLONG;

		if ((size_t)snprintf(path, bytes, "%.*s%s%s", (int)length, folders,
				     length ? "/" : "", name) < bytes)
			now = try_path(path);
		if (!now)
			return 0;
		if (now == -EACCES)
			err = now;
		if (!folders[length])
			return err;
		folders += length + 1;
	}
}

static int say(char *why, size_t bytes, const char *path, const char *what)
{
	snprintf(why, bytes, "%s %s", path, what);
	return 1;
}

static int gains_rights(int fd, const char *path, char *why, size_t bytes)
{
	struct stat status;

	if (fstat(fd, &status))
		return -errno;
	if ((status.st_mode & S_ISUID && status.st_uid != geteuid()) ||
	    (status.st_mode & S_ISGID && status.st_mode & S_IXGRP &&
	     status.st_gid != getegid()))
		return say(why, bytes, path,
			   "is set-user-ID or set-group-ID: it takes no LD_PRELOAD");
	if (geteuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0)
		return say(why, bytes, path, "has file capabilities: it takes no LD_PRELOAD");
	return 0;
}

/* Reads the interpreter of an ELF file. Return: 1 it has one; 0; -errno. */
static int elf_interpreter(int fd, const Elf64_Ehdr *head, char *path, size_t bytes)
{
	for (unsigned int i = 0; i < head->e_phnum; i++) {
		Elf64_Phdr part;
		off_t at = (off_t)(head->e_phoff + (uint64_t)i * head->e_phentsize);

		if (pread(fd, &part, sizeof(part), at) != sizeof(part))
			return -ENOEXEC;
		if (part.p_type != PT_INTERP)
			continue;
		if (!part.p_filesz || part.p_filesz > bytes)
			return -ENOEXEC;
		if (pread(fd, path, part.p_filesz, (off_t)part.p_offset) !=
		    (ssize_t)part.p_filesz)
			return -ENOEXEC;
		path[part.p_filesz - 1] = '\0';
		return 1;
	}
	return 0;
}

static int judge_elf(int fd, const char *path, char *why, size_t bytes)
{
	char linker[PATH_BYTES];
	const char *name;
	Elf64_Ehdr head;
	int has;

	if (pread(fd, &head, sizeof(head), 0) != sizeof(head) ||
	    head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_machine != EM_X86_64)
		return say(why, bytes, path, "is not for x86-64");
	has = elf_interpreter(fd, &head, linker, sizeof(linker));
	if (has < 0)
		return say(why, bytes, path, "is a broken ELF file");
	if (!has)
		return say(why, bytes, path, "is statically linked: nothing can be preloaded");
	name = strrchr(linker, '/');
	if (strcmp(name ? name + 1 : linker, LINKER) != 0)
		return say(why, bytes, path, "is of another C library than usvm");
	return 0;
}

/* "#!INTERPRETER ..." in @head. Return: true, and where. */
static bool script_interpreter(char *head, char **path)
{
	char *at = head + 2;

	if (strncmp(head, "#!", 2) != 0)
		return false;
	at[strcspn(at, "\n")] = '\0';
	at += strspn(at, " \t");
	at[strcspn(at, " \t")] = '\0';
	*path = at;
	return *at != '\0';
}

int program_refuses(const char *path, char *why, size_t bytes)
{
	char heads[SCRIPT_DEPTH_MAX][HEAD_BYTES];
	char *at = (char *)(uintptr_t)path;

	for (int depth = 0; depth < SCRIPT_DEPTH_MAX; depth++) {
		char *head = heads[depth];
		int fd = open(at, O_RDONLY | O_CLOEXEC);
		ssize_t got;
		int result;

		if (fd < 0)
			return errno == EACCES ? say(why, bytes, at,
						     "may not be read: what is preloaded could "
						     "not look at itself there") :
						 -errno;
		got = pread(fd, head, HEAD_BYTES - 1, 0);
		head[got > 0 ? got : 0] = '\0';
		if (got >= SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0) {
			result = gains_rights(fd, at, why, bytes);
			if (!result)
				result = judge_elf(fd, at, why, bytes);
			close(fd);
			return result;
		}
		close(fd);
		/* A file without #! is for the shell that reads it. */
		if (!script_interpreter(head, &at))
			return 0;
	}
	return say(why, bytes, path, "is a script of a script of a script");
}
