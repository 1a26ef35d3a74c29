/* SPDX-License-Identifier: MIT */
/*
 * run_test.c - what a program sees of the virtual card's files, under `usvm run --cards 2`.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../examples/xe_client.h"

#define CHECK(condition)                                                                  \
	((condition) ? (void)0 :                                                          \
		       (fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, \
				strerror(errno)),                                         \
			exit(1)))

static uint32_t make_vm(int fd)
{
	struct vm_create args = { .flags = VM_LR_MODE | VM_FAULT_MODE };

	return ioctl(fd, VM_CREATE, &args) ? 0 : args.vm;
}

static void nodes_are_listed_and_are_devices(void)
{
	unsigned int cards = 0, renders = 0;
	DIR *folder = opendir("/dev/dri");
	const struct dirent *entry;
	struct stat st;
	char text[64], link[64];
	int fd;

	CHECK(folder);
	while ((entry = readdir(folder))) {
		cards += !strncmp(entry->d_name, "card", 4);
		renders += !strncmp(entry->d_name, "renderD", 7);
	}
	closedir(folder);
	CHECK(cards == 2 && renders == 2);
	CHECK(!stat("/dev/dri/renderD129", &st) && S_ISCHR(st.st_mode));
	CHECK(major(st.st_rdev) == 226 && minor(st.st_rdev) == 129);
	CHECK(stat("/dev/dri/card2", &st) && errno == ENOENT);
	fd = open("/dev/dri/card1", O_RDWR);
	CHECK(fd >= 0 && !fstat(fd, &st) && minor(st.st_rdev) == 1);
	snprintf(text, sizeof(text), "/proc/self/fd/%d", fd);
	memset(&st, 0, sizeof(st));
	CHECK(readlink(text, link, sizeof(link)) == (ssize_t)strlen("/dev/dri/card1") &&
	      !memcmp(link, "/dev/dri/card1", strlen("/dev/dri/card1")));
	CHECK(!close(fd));
}

#define SYSFS_MAGIC 0x62656572

static bool lists(int folder, const char *name)
{
	DIR *listed = fdopendir(folder);
	const struct dirent *entry;
	bool found = false;

	CHECK(listed);
	while ((entry = readdir(listed)))
		found |= !strcmp(entry->d_name, name);
	closedir(listed);
	return found;
}

/* As libudev does: step by step from the root, and the lists of classes and buses. */
static void cards_are_found_by_scanning(void)
{
	static const char *const steps[] = { "sys", "class", "drm", "card1" };
	int at = open("/", O_PATH | O_DIRECTORY);
	struct statfs fs;
	struct statx stx;
	char link[256];

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		int next = openat(at, steps[i], O_RDONLY | O_DIRECTORY);

		CHECK(next >= 0 && !close(at));
		at = next;
	}
	CHECK(!fstatfs(at, &fs) && fs.f_type == SYSFS_MAGIC);
	CHECK(readlinkat(at, "subsystem", link, sizeof(link)) ==
		      (ssize_t)strlen("/sys/class/drm") &&
	      !memcmp(link, "/sys/class/drm", strlen("/sys/class/drm")));
	CHECK(lists(at, "uevent"));
	CHECK(lists(open("/sys/class", O_RDONLY), "drm"));
	CHECK(lists(open("/sys/class/", O_RDONLY), "tty")); /* the kernel's */
	CHECK(lists(open("/sys/bus", O_RDONLY), "pci"));
	CHECK(lists(open("/sys/bus/pci/devices", O_RDONLY), "0000:e0:04.0"));
	CHECK(!statfs("/sys/class/drm", &fs) && fs.f_type == SYSFS_MAGIC);
	CHECK(!statfs("/", &fs) && fs.f_type != SYSFS_MAGIC);
	CHECK(!statx(AT_FDCWD, "/dev/dri/card1", 0, STATX_BASIC_STATS, &stx));
	CHECK(S_ISCHR(stx.stx_mode) && stx.stx_rdev_major == 226 && stx.stx_rdev_minor == 1);
	CHECK(!statx(AT_FDCWD, "/", 0, STATX_BASIC_STATS, &stx) && S_ISDIR(stx.stx_mode));
}

/* By descriptors of folders, one step each. */
static int walk(const char *path)
{
	int at = open("/", O_PATH | O_DIRECTORY);
	char step[64];

	for (int bytes; sscanf(path, "/%63[^/]%n", step, &bytes) == 1; path += bytes) {
		int next = openat(at, step, O_PATH);

		CHECK(next >= 0 && !close(at));
		at = next;
	}
	return at;
}

static bool is_same(int fd, const char *path)
{
	struct stat one, other;

	CHECK(fd >= 0 && !fstat(fd, &one) && !close(fd));
	CHECK(!stat(path, &other));
	return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/* The folders that list cards beside the kernel's devices: both are found through them. */
static void what_is_the_kernels_is_found_by_steps(void)
{
	static const char *const paths[] = {
		"/sys/class/mem/null", "/sys/class/mem", "/sys/class/drm/card1", "/sys/bus/pci",
		"/sys/devices/system/cpu/online", "/sys/bus/pci/devices/0000:e0:04.0/vendor",
	};
	int class = open("/sys/class", O_RDONLY | O_DIRECTORY), fd;
	char link[64];

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		CHECK(is_same(walk(paths[i]), paths[i]));
	CHECK(is_same(openat(class, "mem/null/uevent", O_RDONLY), "/sys/class/mem/null/uevent"));
	CHECK(is_same(openat(class, "../devices/system/cpu/online", O_RDONLY),
		      "/sys/devices/system/cpu/online"));
	CHECK(is_same(openat(class, "../class/drm/card0/dev", O_RDONLY),
		      "/sys/class/drm/card0/dev"));
	CHECK(is_same(openat(class, "..", O_PATH), "/sys"));
	CHECK(is_same(openat(class, "../..", O_PATH), "/"));
	/* A link and not where it leads. */
	fd = walk("/sys/class/mem");
	CHECK(readlinkat(fd, "null", link, sizeof(link)) > 0 && !strncmp(link, "../../", 6));
	CHECK(!close(fd) && !close(class));
	/* A file that is made beside the tree's folders is made. */
	fd = open("/dev/dri", O_RDONLY | O_DIRECTORY);
	CHECK(fd >= 0 && is_same(openat(fd, "../null", O_WRONLY | O_CREAT, 0600), "/dev/null"));
	CHECK(!close(fd));
}

static void cards_have_a_slot_on_the_bus(void)
{
	static const char *const paths[] = {
		"/sys/bus/pci/devices/0000:e0:03.0/vendor",
		"/sys/bus/pci/drivers/xe/0000:e0:04.0/vendor",
		"/sys/devices/pci0000:e0/0000:e0:04.0/vendor",
		"/sys/class/drm/card1/device/vendor",
	};
	char text[64], path[64];

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		int fd = open(paths[i], O_RDONLY);

		CHECK(fd >= 0 && read(fd, text, sizeof(text)) == 7 && !memcmp(text, "0x8086\n", 7));
		CHECK(!close(fd));
	}
	CHECK(readlink("/sys/bus/pci/devices/0000:e0:03.0", path, sizeof(path)) > 0);
	CHECK(!memcmp(path, "/sys/devices/pci0000:e0/0000:e0:03.0", 36));
}

static void duplicates_are_one_file(void)
{
	int fd = open("/dev/dri/card0", O_RDWR), copy = dup(fd), other;
	char path[32];

	CHECK(fd >= 0 && copy >= 0);
	CHECK(make_vm(fd) == 1 && make_vm(copy) == 2);
	CHECK(!close(fd));
	CHECK(make_vm(fd) == 0 && errno == EBADF);
	CHECK(make_vm(copy) == 3);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", copy);
	other = open(path, O_RDWR);
	CHECK(other >= 0 && make_vm(other) == 1);
	CHECK(!close(other) && !close(copy));
}

static void a_child_opens_again(void)
{
	int fd = open("/dev/dri/card0", O_RDWR), status;
	pid_t child;

	CHECK(make_vm(fd) == 1 && make_vm(fd) == 2);
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		int own = open("/dev/dri/card0", O_RDWR);

		CHECK(make_vm(own) == 1);
		CHECK(make_vm(fd) == 1); /* the parent's are not here */
		exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && !status);
	CHECK(make_vm(fd) == 3);
	CHECK(!close(fd));
}

static void *open_and_close(void *arg)
{
	for (int i = 0; i < 50; i++) {
		int fd = open(i % 2 ? "/dev/dri/card0" : "/dev/dri/card1", O_RDWR);

		CHECK(fd >= 0 && make_vm(fd) == 1);
		CHECK(!close(fd));
	}
	return arg;
}

static void threads_have_files_of_their_own(void)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&threads[i], NULL, open_and_close, NULL));
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_join(threads[i], NULL));
}

static void counters_can_be_read(void)
{
	FILE *file = fopen("/sys/kernel/debug/dri/0/gt0/stats", "r");
	char text[128];

	CHECK(file && fgets(text, sizeof(text), file));
	CHECK(strstr(text, "svm_pagefault_count: "));
	CHECK(!fclose(file));
}

int main(void)
{
	nodes_are_listed_and_are_devices();
	cards_are_found_by_scanning();
	what_is_the_kernels_is_found_by_steps();
	cards_have_a_slot_on_the_bus();
	duplicates_are_one_file();
	a_child_opens_again();
	threads_have_files_of_their_own();
	counters_can_be_read();
	return 0;
}
