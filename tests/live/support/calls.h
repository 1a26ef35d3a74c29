/* SPDX-License-Identifier: MIT */
/*
 * tests/live/support/calls.h - system calls that are given memory on the device.
 *
 * A call is one row of a table: what it does with the memory, what it says where the
 * kernel may not wait for a page, and a function that makes it. The runner
 * (system_calls_test.c) puts the memory on the device, proves it, makes the call, and
 * proves what became of the contents on both sides.
 */
#ifndef TESTS_LIVE_SUPPORT_CALLS_H
#define TESTS_LIVE_SUPPORT_CALLS_H

#include "live/support/live.h"

#define CALL_SKIPPED 1 /* what act() returns when this system refuses; why is set */
#define CALL_ARGUMENT_PAGE (2 * LIVE_PAGE)

enum call_kind {
	CALL_READS,    /* the kernel reads all of it: @other has become equal */
	CALL_WRITES,   /* it writes all of it: it has become equal to @other */
	CALL_TOUCHES,  /* all pages, no contents */
	CALL_ARGUMENT, /* what the call is told or tells is in the page @argument */
};

/* In shared memory, which never migrates, and which the helper sees too. */
struct call_area {
	unsigned char *at; /* what the call is given */
	size_t bytes;
	unsigned char *argument; /* a page of it */
	unsigned char *other;    /* as much as @at, shared */
	const char *why;         /* of CALL_SKIPPED */
	/* A child from before the memory was there; see start_helper(). */
	pid_t helper;
	int to_helper[2];
	int from_helper[2];
	int helper_result;
};

struct call {
	const char *name;
	enum call_kind kind;
	int refused; /* -errno where the kernel may not wait for pages */
	/* Before the memory is mapped; while the CPU has it. NULL: nothing. */
	void (*begin)(struct call_area *area);
	void (*prepare)(struct call_area *area);
	/* Return: 0; -errno of the call; CALL_SKIPPED. */
	int (*act)(struct call_area *area);
	void (*end)(struct call_area *area);
};

/* The rows: whole areas, and arguments. */
extern const struct call transfer_calls[], argument_calls[];
extern const size_t transfer_call_count, argument_call_count;

/** call_open_user_faults(), call_close_user_faults() - live_open() without kernel_faults and
 * with migrate=always: pages go to the device, and the kernel may not wait for them */
void call_open_user_faults(struct live *live, const struct live_param *param);
void call_close_user_faults(struct live *live);

/** call_file() - an empty file on a real file system, gone when it is closed; @flags:
 * O_DIRECT or 0. Return: -1: refused, with errno. */
int call_file(int flags);

/** call_uring_fixed() - register [@at, @at + @bytes) with an io_uring, and read it from
 * or write it to the start of @fd; @pinned (or NULL) runs between. Return: 0, -errno,
 * CALL_SKIPPED with @why. */
int call_uring_fixed(int fd, bool write, void *at, size_t bytes, const char **why,
		     void (*pinned)(void *arg), void *arg);

#endif
