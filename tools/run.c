/* SPDX-License-Identifier: MIT */
/*
 * DOC: usvm run
 *
 * Starts a program with a virtual Xe card: makes the shadow tree, preloads libusvm-xe.so,
 * waits, and takes the tree away. The library is looked for where $USVM_XE_LIBRARY says,
 * where it was installed, and beside this command in a build.
 *
 * Processes leave reports in the tree, if somebody wants to know (run_report.c).
 */
#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "program.h"
#include "run.h"

#if !defined(USVM_XE_PATH)
#define USVM_XE_PATH "/usr/local/lib/usvm/libusvm-xe.so"
#endif

#define LIBRARY "libusvm-xe.so"
#define EXIT_CANNOT 77 /* nothing can be preloaded */

struct options {
	const struct run_profile *profile;
	unsigned int cards;
	uint64_t vram_bytes;
	const char *migrate; /* or NULL */
	bool poison;
	struct run_report report; /* placement: place on the device, too */
};

static const struct run_profile profiles[] = {
	{ .name = "bmg", .device_id = 0xe20b },
	{ .name = "cri", .device_id = 0x674c, .has_groups = true },
};

static const struct run_profile *find_profile(const char *name)
{
	for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++) {
		if (!strcmp(profiles[i].name, name))
			return &profiles[i];
	}
	return NULL;
}

static const char *find_library(char *path, size_t bytes)
{
	const char *named = getenv("USVM_XE_LIBRARY");

	if (named)
		return access(named, R_OK) ? NULL : named;
	if (!command_beside(LIBRARY, path, bytes) && !access(path, R_OK))
		return path;
	if (!command_beside("../lib/usvm/" LIBRARY, path, bytes) && !access(path, R_OK))
		return path;
	return access(USVM_XE_PATH, R_OK) ? NULL : USVM_XE_PATH;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
	(void)st;
	(void)kind;
	(void)walk;
	return remove(path) ? -1 : 0;
}

/* What was not asked for is not taken over from a run that this one is in. */
static void set_or_unset(const char *name, const char *value)
{
	if (value)
		setenv(name, value, 1);
	else
		unsetenv(name);
}

static void set_environment(const struct options *o, const char *root, const char *library)
{
	const char *before = getenv("LD_PRELOAD");
	char text[8192];

	snprintf(text, sizeof(text), "%s%s%s", library, before && *before ? ":" : "",
		 before ? before : "");
	setenv("LD_PRELOAD", text, 1);
	setenv("USVM_XE_ROOT", root, 1);
	setenv("USVM_XE_PROFILE", o->profile->name, 1);
	snprintf(text, sizeof(text), "%" PRIu64, o->vram_bytes);
	set_or_unset("USVM_XE_VRAM", o->vram_bytes ? text : NULL);
	set_or_unset("USVM_XE_PLACEMENT", o->report.placement ? "device" : NULL);
	set_or_unset("USVM_XE_MIGRATE", o->migrate);
	set_or_unset("USVM_XE_POISON", o->poison ? "1" : NULL);
}

/* Return: the exit status, as a shell tells it. */
static int run_program(const struct options *o, const char *root, const char *library,
		       char **argv)
{
	pid_t child = fork();
	int status;

	if (child < 0) {
		fprintf(stderr, "usvm run: %s\n", strerror(errno));
		return EXIT_WRONG;
	}
	if (!child) {
		set_environment(o, root, library);
		execvp(argv[0], argv);
		fprintf(stderr, "usvm run: %s: %s\n", argv[0], strerror(errno));
		_exit(errno == ENOENT ? 127 : 126);
	}
	/* The program decides what becomes of a signal from the terminal. */
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return EXIT_WRONG;
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run_with_tree(const struct options *o, const char *library, char **argv)
{
	const char *folder = getenv("TMPDIR");
	char root[1024];
	int status, err;

	snprintf(root, sizeof(root), "%s/usvm-run.XXXXXX", folder && *folder ? folder : "/tmp");
	if (!mkdtemp(root)) {
		fprintf(stderr, "usvm run: %s: %s\n", root, strerror(errno));
		return EXIT_WRONG;
	}
	err = run_tree_make(root, o->cards, o->profile);
	if (!err)
		err = run_report_prepare(&o->report, root);
	if (err) {
		fprintf(stderr, "usvm run: %s: %s\n", root, strerror(-err));
		status = EXIT_WRONG;
	} else {
		status = run_program(o, root, library, argv);
		if (!run_report_tell(&o->report, root) && !status)
			status = EXIT_WRONG;
	}
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return status;
}

enum {
	OPTION_PROFILE = 1,
	OPTION_CARDS,
	OPTION_VRAM,
	OPTION_STATS,
	OPTION_MIGRATION,
	OPTION_MIGRATE,
	OPTION_PLACEMENT,
	OPTION_POISON,
	OPTION_HELP,
};

static const struct option long_options[] = {
	{ "profile", required_argument, NULL, OPTION_PROFILE },
	{ "cards", required_argument, NULL, OPTION_CARDS },
	{ "vram", required_argument, NULL, OPTION_VRAM },
	{ "stats", no_argument, NULL, OPTION_STATS },
	{ "require-migration", optional_argument, NULL, OPTION_MIGRATION },
	{ "migrate", required_argument, NULL, OPTION_MIGRATE },
	{ "placement", required_argument, NULL, OPTION_PLACEMENT },
	{ "poison", no_argument, NULL, OPTION_POISON },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ NULL, 0, NULL, 0 },
};

/* Return: 0; else a message was printed. */
static int take_option(struct options *o, int option)
{
	switch (option) {
	case OPTION_PROFILE:
		o->profile = find_profile(optarg);
		if (!o->profile)
			return command_usage_error(&run_command, "no profile '%s'", optarg);
		return 0;
	case OPTION_CARDS:
		o->cards = (unsigned int)strtoul(optarg, NULL, 10);
		if (o->cards < 1 || o->cards > RUN_CARDS_MAX)
			return command_usage_error(&run_command, "1 to %d cards",
						   RUN_CARDS_MAX);
		return 0;
	case OPTION_VRAM:
		command_vram_size(optarg, &o->vram_bytes);
		return command_check_vram(&run_command, optarg);
	case OPTION_STATS:
		o->report.stats = true;
		return 0;
	case OPTION_MIGRATION:
		if (run_report_wanted(&o->report, optarg ? optarg : "device,home"))
			return command_usage_error(&run_command,
						   "no migration is called '%s'", optarg);
		return 0;
	case OPTION_MIGRATE:
		o->migrate = optarg;
		if (strcmp(optarg, "auto") && strcmp(optarg, "always") && strcmp(optarg, "never"))
			return command_usage_error(&run_command, "no migration '%s'", optarg);
		return 0;
	case OPTION_PLACEMENT:
		o->report.placement = !strcmp(optarg, "device");
		if (!o->report.placement && strcmp(optarg, "auto"))
			return command_usage_error(&run_command, "no placement '%s'", optarg);
		return 0;
	default:
		o->poison = true;
		return 0;
	}
}

/* A program that has no card by what it is, not by what it does. What cannot be run at all
 * execvp() tells. Return: 0, EXIT_CANNOT. */
static int check_program(const char *name)
{
	char path[4096], why[sizeof(path) + 128];

	if (program_find(name, path, sizeof(path)) ||
	    program_refuses(path, why, sizeof(why)) <= 0)
		return 0;
	fprintf(stderr, "usvm run: %s\n", why);
	return EXIT_CANNOT;
}

static int no_library(void)
{
	const char *named = getenv("USVM_XE_LIBRARY");

	if (named)
		fprintf(stderr, "usvm run: USVM_XE_LIBRARY, %s: %s\n", named,
			strerror(errno));
	else
		fprintf(stderr, "usvm run: %s is neither beside this command nor at %s; its path "
				"may stand in USVM_XE_LIBRARY\n", LIBRARY, USVM_XE_PATH);
	return EXIT_WRONG;
}

static int run_run(int argc, char **argv)
{
	struct options o = { .cards = 1, .profile = &profiles[0] };
	char path[4096];
	const char *library;
	int option, err;

	opterr = 0;
	optind = 1;
	while ((option = getopt_long(argc, argv, "+:", long_options, NULL)) != -1) {
		if (option == OPTION_HELP)
			return command_help(&run_command);
		if (option == ':' || (optarg && !strcmp(optarg, "--")))
			return command_usage_error(&run_command, "%s wants an argument",
						   argv[optind - (option == ':' ? 1 : 2)]);
		if (option == '?')
			return command_bad_option(&run_command, argv);
		err = take_option(&o, option);
		if (err)
			return err;
	}
	if (optind == argc)
		return command_usage_error(&run_command, "a program is wanted");
	library = find_library(path, sizeof(path));
	if (!library)
		return no_library();
	err = check_program(argv[optind]);
	return err ? err : run_with_tree(&o, library, argv + optind);
}

const struct command run_command = {
	.name = "run",
	.summary = "Run a program with a virtual Intel Xe GPU",
	.usage = "Usage: usvm run [OPTION...] [--] PROGRAM [ARGUMENT...]\n"
		 "\n"
		 "Start an unmodified program with an Xe card under /dev/dri that usvm serves.\n"
		 "\n"
		 "Options:\n"
		 "  --profile NAME  What the card says it is: bmg (default) or cri\n"
		 "  --cards N       How many cards there are (1 to 8, default 1)\n"
		 "  --vram SIZE     Memory of a card, with K, M or G, a multiple of 2M; default\n"
		 "                  256M\n"
		 "  --stats         Print at the end what each process counted\n"
		 "  --require-migration[=WHAT]\n"
		 "                  Fail unless in each process that ran a job pages went to the\n"
		 "                  device and came home; WHAT: device,home (default), device,\n"
		 "                  home, none\n"
		 "  --migrate=always|never\n"
		 "                  Migrate also where system calls cannot touch pages on the\n"
		 "                  device: for ordinary users; such a call fails with EFAULT.\n"
		 "                  never: the device uses all memory at home\n"
		 "  --placement=auto|device\n"
		 "                  device: take all memory to the device that can be taken,\n"
		 "                  whatever is advised, and list what cannot\n"
		 "  --poison        Fill device memory that pages have left with a pattern\n"
		 "  --help          Print this text\n"
		 "\n"
		 "USVM_LOG=FILE (or - for the standard error) gets a line for each thing that\n"
		 "the program asked for and the card does not have.\n"
		 "\n"
		 "Exit status: the program's; 128 and the signal that ended it; 127 where there\n"
		 "is no such program, 126 where it cannot be run; 77 where nothing can be\n"
		 "preloaded into it, and why; 1 where nothing migrated that had to, or usvm could\n"
		 "not start it; 2 for bad usage.\n",
	.run = run_run,
};
