/* SPDX-License-Identifier: MIT */
/*
 * DOC: usvm chaos
 *
 * Looks whether the program can have an agent, makes the file that agents count in, and
 * runs the program with the agent preloaded. It stays its parent, to say at the end
 * what happened, also where the program was killed; so it does what a shell would have
 * seen the program do:
 *
 *     signals   who is sent one from outside passes it on; what a terminal sends, the
 *               program has got by itself
 *     stop      it stops, too, and goes on when the program is to
 *     end       the same exit status, or the same signal
 *
 * The file is sealed: nobody can make it shorter under a program that has mapped it. Its
 * name is that of this process's descriptor in /proc, so nothing is left behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <usvm/usvm.h>

#include "../tools/command.h"
#include "../tools/program.h"
#include "report.h"
#include "shared.h"

#if !defined(USVM_CHAOS_PATH)
#define USVM_CHAOS_PATH "/usr/local/lib/usvm/libusvm-chaos.so"
#endif

#define PATH_BYTES 4096
#define EXIT_CANNOT 77     /* no agent can run here */
#define EXIT_NOT_RUN 126   /* as env(1) */
#define EXIT_NOT_FOUND 127
#define RATE_MAX 100000

struct chaos {
	uint64_t seed, rate;
	const char *vram, *mode, *home;
	const char *report_path;
	bool json;
	bool loses_pages;
	char **argv; /* of the program */

	char agent[PATH_BYTES];
	struct chaos_shared *shared;
	int shared_fd;
	pid_t self, child;
	int status;
};

static int cannot(const char *why)
{
	fprintf(stderr, "usvm chaos: %s\n", why);
	return EXIT_CANNOT;
}

/* --- options -------------------------------------------------------------------- */

static bool parse_number(const char *text, uint64_t max, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && *value <= max;
}

static int bad_value(const char *option, const char *value)
{
	return command_usage_error(&chaos_command, "bad value '%s' for --%s", value, option);
}

static const struct option long_options[] = {
	{ "seed", required_argument, NULL, 's' },
	{ "rate", required_argument, NULL, 'r' },
	{ "vram", required_argument, NULL, 'v' },
	{ "mode", required_argument, NULL, 'm' },
	{ "home", required_argument, NULL, 'g' },
	{ "report", required_argument, NULL, 'o' },
	{ "json", no_argument, NULL, 'j' },
	{ "plant", required_argument, NULL, 'p' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* Return: 0 go on, EXIT_USAGE; -1 help was printed. */
static int parse_option(struct chaos *c, int letter, char **argv)
{
	switch (letter) {
	case 's':
		return parse_number(optarg, UINT64_MAX, &c->seed) ? 0 :
								    bad_value("seed", optarg);
	case 'r':
		return parse_number(optarg, RATE_MAX, &c->rate) && c->rate ?
			       0 :
			       bad_value("rate", optarg);
	case 'v':
		c->vram = optarg;
		return command_check_vram(&chaos_command, optarg);
	case 'm':
		c->mode = optarg;
		return !strcmp(optarg, "move") || !strcmp(optarg, "copy") ?
			       0 :
			       bad_value("mode", optarg);
	case 'g':
		c->home = optarg;
		return 0;
	case 'o':
		c->report_path = optarg;
		return 0;
	case 'j':
		c->json = true;
		return 0;
	case 'p':
		c->loses_pages = true;
		return !strcmp(optarg, "lose-one-page") ? 0 : bad_value("plant", optarg);
	case 'h':
		return -1;
	default:
		return command_bad_option(&chaos_command, argv);
	}
}

static int parse(struct chaos *c, int argc, char **argv)
{
	int letter, err;

	optind = 0;
	opterr = 0;
	while ((letter = getopt_long(argc, argv, "+h", long_options, NULL)) != -1) {
		err = parse_option(c, letter, argv);
		if (err)
			return err;
	}
	if (optind == argc)
		return command_usage_error(&chaos_command, "a program is wanted");
	c->argv = argv + optind;
	return 0;
}

/* --- whether it can work ----------------------------------------------------------- */

/* Of a build: BUILD/usvm, BUILD/chaos/libusvm-chaos.so. */
static bool find_beside(const char *name, char *path)
{
	ssize_t length = readlink("/proc/self/exe", path, PATH_BYTES - 1);
	char *slash;

	if (length <= 0)
		return false;
	path[length] = '\0';
	slash = strrchr(path, '/');
	if (!slash || (size_t)(slash - path) + sizeof("/chaos/") + strlen(name) > PATH_BYTES)
		return false;
	stpcpy(stpcpy(slash, "/chaos/"), name);
	return !access(path, R_OK);
}

static bool find_agent(struct chaos *c)
{
	const char *named = getenv("USVM_CHAOS_AGENT");

	if (named)
		return (size_t)snprintf(c->agent, PATH_BYTES, "%s", named) < PATH_BYTES &&
		       !access(c->agent, R_OK);
	/* The planted bug is in an agent of its own, which is not installed. */
	if (c->loses_pages)
		return find_beside("libusvm-chaos-plant.so", c->agent);
	if (find_beside("libusvm-chaos.so", c->agent))
		return true;
	if (!command_beside("../lib/usvm/libusvm-chaos.so", c->agent, PATH_BYTES) &&
	    !access(c->agent, R_OK))
		return true;
	snprintf(c->agent, PATH_BYTES, "%s", USVM_CHAOS_PATH);
	return !access(c->agent, R_OK);
}

static int check_agent(struct chaos *c)
{
	char *path;

	if (!find_agent(c))
		return cannot(c->loses_pages ?
				      "--plant works in a build only: "
				      "there is no libusvm-chaos-plant.so" :
			      getenv("USVM_CHAOS_AGENT") ?
				      "what USVM_CHAOS_AGENT names cannot be read" :
				      "libusvm-chaos.so is neither beside this command nor at "
				      USVM_CHAOS_PATH);
	path = realpath(c->agent, NULL);
	if (!path || strlen(path) >= PATH_BYTES || strpbrk(path, ": \t")) {
		free(path);
		return cannot("the dynamic linker takes no library whose path has a blank or "
			      "a colon");
	}
	memcpy(c->agent, path, strlen(path) + 1);
	free(path);
	return 0;
}

static int check_program(const char *name)
{
	char path[PATH_BYTES], why[PATH_BYTES + 128];
	int err = program_find(name, path, sizeof(path));

	if (!err)
		err = program_refuses(path, why, sizeof(why));
	if (err > 0)
		return cannot(why);
	if (!err)
		return 0;
	fprintf(stderr, "usvm chaos: %s: %s\n", name, strerror(-err));
	return err == -ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUN;
}

/* The device that each agent will open: is it one, and do pages migrate? */
static int check_device(const char *spec)
{
	struct usvm_device_info info;
	struct usvm *device;
	char text[256];
	int err = usvm_open(spec, &device);

	if (err == -EINVAL)
		return command_usage_error(&chaos_command, "bad device '%s'", spec);
	if (err) {
		open_error_text(spec, err, text, sizeof(text));
		return cannot(text);
	}
	err = usvm_device_info(device, &info);
	usvm_close(device);
	if (err)
		return cannot(usvm_strerror(err));
	if (info.migrates)
		return 0;
	snprintf(text, sizeof(text), "pages cannot migrate here: %s (see usvm doctor)",
		 info.why_not);
	return cannot(text);
}

/* --- the file ------------------------------------------------------------------------- */

static int make_shared(struct chaos *c, const char *spec)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	struct chaos_shared *shared;
	int fd = memfd_create("usvm-chaos", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, sizeof(*shared)) || fcntl(fd, F_ADD_SEALS, seals))
		return -errno;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		return -errno;
	shared->seed = c->seed;
	shared->rate = c->rate;
	shared->loses_pages = c->loses_pages;
	snprintf(shared->spec, sizeof(shared->spec), "%s", spec);
	shared->magic = CHAOS_MAGIC;
	c->shared = shared;
	c->shared_fd = fd;
	return 0;
}

static int set_environment(const struct chaos *c)
{
	const char *before = getenv("LD_PRELOAD");
	size_t bytes = strlen(c->agent) + (before ? strlen(before) : 0) + 2;
	char *preload = malloc(bytes);
	char path[64];
	int err = 0;

	if (!preload)
		return -ENOMEM;
	snprintf(preload, bytes, "%s%s%s", c->agent, before ? ":" : "", before ? before : "");
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)c->self, c->shared_fd);
	if (setenv("LD_PRELOAD", preload, 1) || setenv(CHAOS_VARIABLE, path, 1))
		err = -errno;
	free(preload);
	return err;
}

/* --- the program ------------------------------------------------------------------------- */

static void run_program(struct chaos *c, const sigset_t *mask, const char *path)
{
	int err = set_environment(c);

	sigprocmask(SIG_SETMASK, mask, NULL);
	if (!err) {
		execv(path, c->argv);
		err = -errno;
	}
	fprintf(stderr, "usvm chaos: %s: %s\n", c->argv[0], strerror(-err));
	_exit(err == -ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUN);
}

/* The program has stopped: so do we, until somebody wants both to go on. */
static void stop_too(const struct chaos *c)
{
	raise(SIGSTOP);
	kill(c->child, SIGCONT);
}

/* Return: true if the program is gone. */
static bool child_changed(struct chaos *c)
{
	pid_t got;

	while ((got = waitpid(c->child, &c->status, WNOHANG | WUNTRACED)) > 0) {
		if (!WIFSTOPPED(c->status))
			return true;
		stop_too(c);
	}
	return got < 0 && errno == ECHILD;
}

/* All signals are blocked, and taken here. */
static void watch(struct chaos *c, const sigset_t *all)
{
	while (!child_changed(c)) {
		siginfo_t info;
		int number = sigwaitinfo(all, &info);

		if (number <= 0 || number == SIGCHLD || number == SIGCONT)
			continue;
		/* A terminal's go to the whole group. */
		if (info.si_code <= 0 && info.si_pid != c->child)
			kill(c->child, number);
	}
}

static int run(struct chaos *c)
{
	char path[PATH_BYTES];
	sigset_t all, before;

	if (program_find(c->argv[0], path, sizeof(path)))
		return EXIT_NOT_FOUND;
	c->self = getpid();
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	c->child = fork();
	if (c->child < 0) {
		fprintf(stderr, "usvm chaos: fork: %s\n", strerror(errno));
		return EXIT_WRONG;
	}
	if (!c->child)
		run_program(c, &before, path);
	watch(c, &all);
	return 0;
}

static int tell(const struct chaos *c)
{
	const struct report report = {
		.shared = c->shared,
		.program = c->argv[0],
		.status = c->status,
	};
	FILE *stream = stderr;
	int err;

	if (c->report_path)
		stream = fopen(c->report_path, "we");
	err = stream ? report_write(&report, stream, c->json) : -errno;
	if (stream && stream != stderr && fclose(stream) && !err)
		err = -errno;
	if (err)
		fprintf(stderr, "usvm chaos: the report: %s\n", strerror(-err));
	return err;
}

/* As the program ended. */
static int end_as(int status)
{
	const struct rlimit none = { 0, 0 };
	sigset_t set;

	if (!WIFSIGNALED(status))
		return WEXITSTATUS(status);
	/* One core is enough. */
	setrlimit(RLIMIT_CORE, &none);
	signal(WTERMSIG(status), SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, WTERMSIG(status));
	raise(WTERMSIG(status));
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	return 128 + WTERMSIG(status);
}

static int chaos_run(int argc, char **argv)
{
	struct chaos c = { .seed = 1, .rate = 100, .vram = "128M", .mode = "move",
			   .home = "4K" };
	char spec[sizeof(c.shared->spec)];
	int err = parse(&c, argc, argv);

	if (err)
		return err < 0 ? command_help(&chaos_command) : err;
	if ((size_t)snprintf(spec, sizeof(spec), "model:vram=%s,mode=%s,home=%s,origins=yes",
			     c.vram, c.mode, c.home) >= sizeof(spec))
		return bad_value("vram", c.vram);
	err = check_agent(&c);
	if (!err)
		err = check_program(c.argv[0]);
	if (!err)
		err = check_device(spec);
	if (err)
		return err;
	err = make_shared(&c, spec);
	if (err) {
		fprintf(stderr, "usvm chaos: %s\n", strerror(-err));
		return EXIT_WRONG;
	}
	err = run(&c);
	if (err)
		return err;
	tell(&c);
	return end_as(c.status);
}

const struct command chaos_command = {
	.name = "chaos",
	.summary = "Run a program while its memory goes to a device and back",
	.usage = "Usage: usvm chaos [OPTION...] [--] PROGRAM [ARGUMENT...]\n"
		 "\n"
		 "Run PROGRAM, unchanged, while random parts of its private anonymous memory\n"
		 "and its children's go to a model device, are touched there, and come home.\n"
		 "It is to do what it does without; a report follows on the standard error.\n"
		 "\n"
		 "Options:\n"
		 "  --seed N       What is random (default: 1)\n"
		 "  --rate N       Steps a second, at most (default: 100)\n"
		 "  --vram SIZE    Device memory, in K, M or G, a multiple of 2M (default: 128M)\n"
		 "  --mode MODE    move: pages are moved to the device (default)\n"
		 "                 copy: they are copied, as to a card's own memory\n"
		 "  --home SIZE    What a touch brings home: 4K, 64K or 2M (default: 4K)\n"
		 "  --report FILE  Write the report there\n"
		 "  --json         Write it as JSON\n"
		 "  --plant lose-one-page\n"
		 "                 Lose pages on the way home, to see a failure; in a build\n"
		 "  --help         Print this text\n"
		 "\n"
		 "Exit status: that of PROGRAM; 126 it cannot be run, 127 it is not found;\n"
		 "77 no agent can run here, or in that program, and why; 2 bad usage.\n",
	.run = chaos_run,
};
