/* SPDX-License-Identifier: MIT */
/*
 * run_test.c - what a program sees of the virtual card's files, under `usvm run --cards 2`.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
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
	duplicates_are_one_file();
	a_child_opens_again();
	threads_have_files_of_their_own();
	counters_can_be_read();
	return 0;
}
