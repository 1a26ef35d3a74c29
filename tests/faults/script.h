/* SPDX-License-Identifier: MIT */
/*
 * tests/faults/script.h - a small program that uses a device, and believes nothing.
 *
 * It always does the same: memory of malloc's and of mmap's goes to the device and comes
 * home by CPU faults, eviction, fork and close; some is unmapped, discarded and protected
 * there. Each call may fail with a documented error; the program goes on with what it has.
 * Each word that is read has to be one that was written, but where the device may lose
 * pages: those may not be read at all.
 */
#ifndef TESTS_FAULTS_SCRIPT_H
#define TESTS_FAULTS_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>

struct script_result {
	bool failed;
	bool on_device;  /* pages were seen there */
	bool lost;       /* and some never came back */
	char text[256];  /* what went wrong */
};

/**
 * script_run() - once, from open to close
 * @spec: of usvm_open()
 * @may_fail: calls may; else each has to succeed
 * @may_lose: the device may keep pages
 * @relent: called before a last usvm_close(), when one failed: nothing fails any more
 */
void script_run(const char *spec, bool may_fail, bool may_lose, void (*relent)(void),
		struct script_result *result);

#endif
