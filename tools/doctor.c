/* SPDX-License-Identifier: MIT */
/*
 * DOC: usvm doctor
 *
 * One check a line: what was found, and where it falls short, what is lost
 * without it and the command that mends it. The last check asks the library
 * itself to open the device that a program gets: whatever the probes think, its
 * word decides.
 *
 *     status 0  everything works
 *     status 1  pages migrate, something is lost
 *     status 2  pages cannot go to a device: all memory is used at home; or no
 *               device can be opened at all
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include <usvm/usvm.h>

#include "command.h"
#include "doctor.h"

#define FEATURE_MOVE (1ull << 16)
#define MAP_COUNT_WANTED 65530 /* the kernel's default; usvm uses a quarter */
#define ADDRESS_SPACE_WANTED (1ull << 30)
#define DESCRIPTORS_WANTED 16 /* 5 for the library; the program has its own */

enum verdict {
	VERDICT_OK,
	VERDICT_PARTLY,
	VERDICT_MISSING,
};

static const char *const verdict_names[] = { "ok", "partly", "missing" };

/* One line of the answer. @lost and @mend are "" where all is well. */
struct check {
	const char *name;
	enum verdict verdict;
	char found[200];
	const char *lost;
	const char *mend;
};

struct doctor {
	struct check checks[16];
	size_t count;
	struct probe_uffd uffd;
	const char *summary;
	int exit_status;
};

__attribute__((format(printf, 6, 7))) static void
report(struct doctor *doctor, const char *name, enum verdict verdict, const char *lost,
       const char *mend, const char *format, ...)
{
	struct check *check = &doctor->checks[doctor->count++];
	va_list args;

	*check = (struct check){
		.name = name, .verdict = verdict, .lost = "", .mend = ""
	};
	if (verdict != VERDICT_OK) {
		check->lost = lost;
		check->mend = mend;
	}
	va_start(args, format);
	vsnprintf(check->found, sizeof(check->found), format, args);
	va_end(args);
}

/* The checks that are one probe: 0, or why it does not work. */
static void report_probe(struct doctor *doctor, const char *name, int err,
			 const char *lost, const char *mend)
{
	if (err)
		report(doctor, name, VERDICT_MISSING, lost, mend, "%s", strerror(-err));
	else
		report(doctor, name, VERDICT_OK, "", "", "works");
}

static void check_kernel(struct doctor *doctor)
{
	unsigned int major = 0, minor = 0;
	enum verdict verdict = VERDICT_OK;
	struct utsname name;

	if (uname(&name))
		memset(&name, 0, sizeof(name));
	sscanf(name.release, "%u.%u", &major, &minor);
	if (strcmp(name.machine, "x86_64") || major < 6 || (major == 6 && minor < 8))
		verdict = VERDICT_MISSING;
	else if (major == 6 && minor < 11)
		verdict = VERDICT_PARTLY;
	report(doctor, "kernel", verdict,
	       verdict == VERDICT_PARTLY ?
		       "looking mappings up is slow before Linux 6.11" :
		       "migration needs Linux 6.8 on x86-64",
	       "run a newer kernel; on Debian 12: sudo apt install -t bookworm-backports "
	       "linux-image-amd64",
	       "%s %s on %s", name.sysname, name.release, name.machine);
}

#define SETCAP									\
	"sudo setcap cap_sys_ptrace+ep PROGRAM (for it the loader ignores "		\
	"LD_LIBRARY_PATH and LD_PRELOAD: link it with an rpath; for usvm run take "	\
	"--migrate=always)"

static const char *uffd_mend(const struct probe_uffd *uffd)
{
	if (uffd->by_call == -ENOSYS)
		return "run a kernel with CONFIG_USERFAULTFD=y";
	if (uffd->by_user_call == -EPERM) /* no privilege is needed for this one */
		return "a sandbox forbids it: allow userfaultfd(2) in its seccomp profile, or "
		       "give it the device: docker run --device /dev/userfaultfd";
	if (uffd->by_device == -EACCES)
		return "sudo sysctl vm.unprivileged_userfaultfd=1, or for one group: "
		       "sudo chgrp GROUP /dev/userfaultfd && sudo chmod 660 /dev/userfaultfd, or "
		       "for one program: " SETCAP;
	return "sudo sysctl vm.unprivileged_userfaultfd=1, or for one program: " SETCAP;
}

static void check_userfaultfd(struct doctor *doctor)
{
	struct probe_uffd *uffd = &doctor->uffd;
	const char *found = "not allowed", *setting = "not readable";
	uint64_t sysctl = 0;

	probe_uffd(uffd);
	if (!uffd->by_call)
		report(doctor, "userfaultfd", VERDICT_OK, "", "", "by the system call");
	else if (!uffd->by_device)
		report(doctor, "userfaultfd", VERDICT_OK, "", "", "by /dev/userfaultfd");
	else if (!uffd->by_user_call)
		report(doctor, "userfaultfd", VERDICT_PARTLY,
		       "only faults of user mode: see kernel-faults", uffd_mend(uffd),
		       "by the system call, user mode only");
	else
		report(doctor, "userfaultfd", VERDICT_MISSING,
		       "no page can leave the process: all memory is used at home",
		       uffd_mend(uffd), "call: %s; /dev/userfaultfd: %s",
		       strerror(-uffd->by_call), strerror(-uffd->by_device));

	if (!probe_read_number("/proc/sys/vm/unprivileged_userfaultfd", &sysctl))
		setting = sysctl ? "1" : "0";
	if (uffd->kernel_faults)
		found = "system calls may touch pages on the device";
	report(doctor, "kernel-faults",
	       uffd->kernel_faults ? VERDICT_OK : VERDICT_MISSING,
	       "a system call on a page that is on the device would fail with EFAULT, so "
	       "memory stays at home unless migrate=always",
	       uffd_mend(uffd), "%s; vm.unprivileged_userfaultfd is %s", found, setting);
}

static void check_features(struct doctor *doctor)
{
	static const char newer[] = "run Linux 6.8 or newer";
	int err;

	report_probe(doctor, "move", probe_move(),
		     "no page can leave the process: all memory is used at home",
		     doctor->uffd.features && !(doctor->uffd.features & FEATURE_MOVE) ?
			     newer :
			     uffd_mend(&doctor->uffd));
	report_probe(
		doctor, "wp-async", probe_wp_async(),
		"memory that madvise() discarded and the program fills again stays at home longer",
		doctor->uffd.features ? newer : uffd_mend(&doctor->uffd));
	err = probe_event_fork();
	report_probe(
		doctor, "event-fork", err,
		"the child of a raw clone(2) gets SIGSEGV on pages that are on the device; "
		"fork(3) is not affected",
		err == -EPERM ? "sudo setcap cap_sys_ptrace+ep PROGRAM, or run as root" :
				uffd_mend(&doctor->uffd));
	report_probe(
		doctor, "procmap-query", probe_procmap_query(),
		"each look-up of a mapping reads /proc/self/maps: slow with many mappings",
		"run Linux 6.11 or newer");
	report_probe(doctor, "pagemap-scan", probe_pagemap_scan(),
		     "the state of pages is read word by word: migration is slower",
		     "run Linux 6.7 or newer, with /proc mounted");
	report_probe(doctor, "guard-pages", probe_guard_pages(),
		     "frames of device memory are emptied by a slower way",
		     "run Linux 6.13 or newer");
	report_probe(doctor, "membarrier", probe_membarrier(),
		     "engines are stopped by a slower barrier",
		     "allow membarrier(2) in the sandbox, or run a kernel with "
		     "CONFIG_MEMBARRIER=y");
}

static void check_huge_pages(struct doctor *doctor)
{
	char line[80];
	int err = probe_read_line("/sys/kernel/mm/transparent_hugepage/enabled", line,
				  sizeof(line));

	if (err)
		report(doctor, "huge-pages", VERDICT_PARTLY,
		       "2 MiB move as 512 small pages: some 20 times slower",
		       "run a kernel with CONFIG_TRANSPARENT_HUGEPAGE=y", "%s",
		       strerror(-err));
	else
		report(doctor, "huge-pages",
		       strstr(line, "[never]") ? VERDICT_PARTLY : VERDICT_OK,
		       "2 MiB move as 512 small pages: some 20 times slower",
		       "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
		       strstr(line, "[madvise]") ? "%s: for memory with MADV_HUGEPAGE" :
						   "%s",
		       line);
}

static void check_limits(struct doctor *doctor)
{
	uint64_t map_count = 0;
	struct rlimit limit;
	int err;

	err = probe_read_number("/proc/sys/vm/max_map_count", &map_count);
	if (err)
		report(doctor, "max-map-count", VERDICT_PARTLY, "the limit is not known",
		       "mount /proc", "%s", strerror(-err));
	else
		report(doctor, "max-map-count",
		       map_count < MAP_COUNT_WANTED ? VERDICT_PARTLY : VERDICT_OK,
		       "memory in many small mappings stays at home",
		       "sudo sysctl vm.max_map_count=65530", "%" PRIu64, map_count);

	if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY)
		report(doctor, "address-space", VERDICT_OK, "", "", "no limit");
	else
		report(doctor, "address-space",
		       limit.rlim_cur < ADDRESS_SPACE_WANTED ? VERDICT_PARTLY :
							       VERDICT_OK,
		       "device memory takes address space: a large device cannot be opened",
		       "ulimit -v unlimited", "%" PRIu64 " MiB",
		       (uint64_t)limit.rlim_cur >> 20);

	if (!getrlimit(RLIMIT_NOFILE, &limit))
		report(doctor, "descriptors",
		       limit.rlim_cur < DESCRIPTORS_WANTED ? VERDICT_PARTLY : VERDICT_OK,
		       "no device can be opened where the program's own leave too few",
		       "ulimit -n 1024", "%" PRIu64, (uint64_t)limit.rlim_cur);
}

/* The library's own word, on the device that a program gets. */
static void check_library(struct doctor *doctor, bool *opens, bool *migrates)
{
	bool is_masked = getenv("USVM_FEATURES") || getenv("USVM_DEVICE");
	struct usvm_device_info info = { 0 };
	struct usvm *gpu;
	char why[160];
	int err = usvm_open(NULL, &gpu);

	if (!err) {
		err = usvm_device_info(gpu, &info);
		usvm_close(gpu);
	} else {
		open_error_text(NULL, err, why, sizeof(why));
	}
	*opens = !err;
	*migrates = !err && info.migrates;
	if (err)
		report(doctor, "library", VERDICT_MISSING, "no device can be opened",
		       err == -EINVAL ? "unset it, or see usvm(1)" :
					"see what is missing above",
		       "usvm %s: %s", usvm_version(), why);
	else
		report(doctor, "library", info.migrates ? VERDICT_OK : VERDICT_MISSING,
		       "all memory is used at home, nothing migrates",
		       is_masked ? "unset USVM_FEATURES and USVM_DEVICE, or see what is "
				   "missing above" :
				   "see what is missing above",
		       "usvm %s: %s", usvm_version(),
		       info.migrates ? "pages migrate" : info.why_not);
}

static void examine(struct doctor *doctor)
{
	bool opens, migrates, all_well = true;

	check_kernel(doctor);
	check_userfaultfd(doctor);
	check_features(doctor);
	check_huge_pages(doctor);
	check_limits(doctor);
	check_library(doctor, &opens, &migrates);

	for (size_t i = 0; i < doctor->count; i++)
		all_well = all_well && doctor->checks[i].verdict == VERDICT_OK;
	doctor->exit_status = !migrates ? 2 : all_well ? 0 : 1;
	if (!opens)
		doctor->summary = "No device can be opened. Programs that want one fail.";
	else if (!migrates)
		doctor->summary = "Pages cannot go to a device. Programs run, with all "
				  "memory at home.";
	else if (!all_well)
		doctor->summary = "Pages migrate; what is marked is lost.";
	else
		doctor->summary = "Everything works.";
}

static void print_text(const struct doctor *doctor)
{
	for (size_t i = 0; i < doctor->count; i++) {
		const struct check *check = &doctor->checks[i];

		printf("%-8s %-14s %s\n", verdict_names[check->verdict], check->name,
		       check->found);
		if (check->verdict == VERDICT_OK)
			continue;
		printf("         lost: %s\n", check->lost);
		printf("         mend: %s\n", check->mend);
	}
	printf("\n%s\n", doctor->summary);
}

static int print_json(const struct doctor *doctor)
{
	static const char *const results[] = { "full", "partly", "none" };
	json_t *checks = json_array(), *all;
	int err;

	for (size_t i = 0; i < doctor->count; i++) {
		const struct check *check = &doctor->checks[i];

		json_array_append_new(checks,
				      json_pack("{s:s, s:s, s:s, s:s, s:s}", "name",
						check->name, "status",
						verdict_names[check->verdict], "found",
						check->found, "lost", check->lost, "mend",
						check->mend));
	}
	all = json_pack("{s:s, s:s, s:s, s:o}", "version", usvm_version(), "result",
			results[doctor->exit_status], "summary", doctor->summary,
			"checks", checks);
	err = !all || json_dumpf(all, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(all);
	return err ? -EIO : 0;
}

static const struct option doctor_options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static int doctor_run(int argc, char **argv)
{
	static struct doctor doctor;
	bool json = false;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "h", doctor_options, NULL)) != -1) {
		switch (option) {
		case 'j':
			json = true;
			break;
		case 'h':
			return command_help(&doctor_command);
		default:
			return command_bad_option(&doctor_command, argv);
		}
	}
	if (optind < argc)
		return command_usage_error(&doctor_command, "no argument is wanted: '%s'",
					   argv[optind]);

	examine(&doctor);
	if (!json)
		print_text(&doctor);
	else if (print_json(&doctor))
		return EXIT_WRONG;
	return command_flush(doctor.exit_status);
}

const struct command doctor_command = {
	.name = "doctor",
	.summary = "Tell what works on this system, what is lost, and what mends it",
	.usage =
		"Usage: usvm doctor [--json]\n"
		"\n"
		"Tries what usvm needs of the kernel, one thing a line: what was found, and where\n"
		"it falls short, what is lost without it and the command that mends it.\n"
		"\n"
		"Options:\n"
		"  --json  Print an object with \"result\" (full, partly, none) and \"checks\",\n"
		"          each with name, status (ok, partly, missing), found, lost and mend\n"
		"  --help  Print this text\n"
		"\n"
		"Exit status: 0 everything works; 1 pages migrate, something is lost; 2 pages\n"
		"cannot go to a device, or no device can be opened, or bad usage.\n",
	.run = doctor_run,
};
