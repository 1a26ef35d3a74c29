/* SPDX-License-Identifier: MIT */
/*
 * DOC: usvm sim
 *
 * The simulator is a program of its own, built from tests/sim: it is every layer of
 * usvm on a simulated kernel, which the library is not. It is looked for where
 * $USVM_SIM says, where it was installed, and beside this command in a build.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

#if !defined(USVM_SIM_PATH)
#define USVM_SIM_PATH "/usr/local/libexec/usvm/usvm-sim"
#endif

static void run(const char *path, char **argv)
{
	argv[0] = (char *)(uintptr_t)path;
	execv(path, argv);
	fprintf(stderr, "usvm sim: %s: %s\n", path, strerror(errno));
}

static int sim_run(int argc, char **argv)
{
	const char *named = getenv("USVM_SIM");
	char path[4096];

	if (named) {
		run(named, argv);
		return EXIT_WRONG;
	}
	if (!command_beside("tests/sim/usvm-sim", path, sizeof(path)) && !access(path, X_OK)) {
		run(path, argv);
		return EXIT_WRONG;
	}
	if (!command_beside("../libexec/usvm/usvm-sim", path, sizeof(path)) &&
	    !access(path, X_OK)) {
		run(path, argv);
		return EXIT_WRONG;
	}
	if (!access(USVM_SIM_PATH, X_OK)) {
		run(USVM_SIM_PATH, argv);
		return EXIT_WRONG;
	}
	if (argc == 2 && !strcmp(argv[1], "--help"))
		return command_help(&sim_command);
	command_beside("tests/sim/usvm-sim", path, sizeof(path));
	fprintf(stderr,
		"usvm sim: the simulator is neither at %s\nnor at %s\n"
		"It is built and installed with usvm from its sources: make build, make install;\n"
		"or name the program in USVM_SIM.\n",
		path, USVM_SIM_PATH);
	return EXIT_WRONG;
}

const struct command sim_command = {
	.name = "sim",
	.summary = "Run random programs on a simulated kernel, from a seed",
	.usage = "Usage: usvm sim [OPTION...]\n"
		 "\n"
		 "Run random programs with threads, kernels, system calls and forks on all of\n"
		 "usvm and a simulated kernel, and check every value that is read. A seed\n"
		 "decides everything, so that a failure can be had again, step by step.\n"
		 "\n"
		 "    usvm sim --seeds 1..100             does anything fail?\n"
		 "    usvm sim --seed 17 --replay         what does each thread do?\n"
		 "    usvm sim --seed 17 --minimise       what does the failure need?\n"
		 "\n"
		 "The simulator, once built, explains its options by `usvm sim --help'; so does\n"
		 "usvm-sim(1). The output: docs/testing.md.\n",
	.run = sim_run,
};
