/* SPDX-License-Identifier: MIT */
/*
 * preload_test.c - each function of the C library that the preloaded library stands in front
 * of, on a card, in the tree, and on what is none of it; under `usvm run --cards 2`.
 */
/* open() and open64() are two functions here, not one under two names. */
#undef _FILE_OFFSET_BITS

#include "client.h"

#include <dirent.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

/* Declared with fortification only. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);
char *__realpath_chk(const char *path, char *resolved, size_t bytes);

#define CARD "/dev/dri/card1"
#define SYSFS 0x62656572

static const char *program;

/* The number of a new address space of the file: from 1. 0: it is no card's. */
static uint32_t make_vm(int fd)
{
	struct xe_vm_create args = { 0 };

	return ioctl(fd, REQUEST(XE_VM_CREATE, struct xe_vm_create), &args) ? 0 : args.vm;
}

static void every_way_to_open_leads_to_a_card(void)
{
	int folder = open("/dev/dri", O_RDONLY | O_DIRECTORY);
	const int fds[] = {
		open(CARD, O_RDWR),
		open64(CARD, O_RDWR),
		openat(AT_FDCWD, CARD, O_RDWR),
		openat64(folder, "card1", O_RDWR),
		openat(folder, "card1", O_RDWR),
		__open_2(CARD, O_RDWR),
		__open64_2(CARD, O_RDWR),
		__openat_2(folder, "card1", O_RDWR),
		__openat64_2(folder, CARD, O_RDWR),
		open(CARD, O_RDWR | O_CREAT | O_TRUNC, 0600),
	};
	struct stat st;

	CHECK(folder >= 0 && !make_vm(folder));
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		CHECK(fds[i] >= 0 && make_vm(fds[i]) == 1);
		CHECK(!fstat(fds[i], &st) && S_ISCHR(st.st_mode));
		CHECK(st.st_rdev == makedev(226, 1));
		CHECK(!close(fds[i]) && !make_vm(fds[i]));
	}
	/* There is none, and none is made; what lies beside it is not ours. */
	CHECK(open("/dev/dri/card7", O_RDWR | O_CREAT, 0600) < 0 && errno == ENOENT);
	CHECK(!close(folder));
}

static void other_files_are_what_they_were(void)
{
	char path[64], text[64] = { 0 }, *longer = calloc(1, 8192);
	struct stat st;
	int fd, pipes[2], bytes = 0;

	snprintf(path, sizeof(path), "/tmp/usvm-preload-%d", (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0640);
	CHECK(fd >= 0 && !make_vm(fd) && errno == ENOTTY);
	CHECK(!fstat(fd, &st) && S_ISREG(st.st_mode) && (st.st_mode & 0777) == (0640 & ~umask(0)));
	CHECK(write(fd, "abc", 3) == 3 && !close(fd));
	fd = openat(AT_FDCWD, path, O_RDONLY);
	CHECK(fd >= 0 && read(fd, text, sizeof(text)) == 3 && !strcmp(text, "abc"));
	CHECK(!close(fd) && !unlink(path));
	fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	CHECK(fd < 0 || !close(fd));
	CHECK(!pipe(pipes) && write(pipes[1], "abcd", 4) == 4);
	CHECK(!ioctl(pipes[0], FIONREAD, &bytes) && bytes == 4);
	CHECK(!close(pipes[0]) && !close(pipes[1]));
	CHECK(longer);
	memset(longer, 'x', 8191);
	memcpy(longer, CARD "/", strlen(CARD "/"));
	CHECK(open(longer, O_RDONLY) < 0 && errno == ENAMETOOLONG);
	free(longer);
}

static void duplicates_of_every_kind_are_one_file(void)
{
	int fd = open(CARD, O_RDWR), other = open(CARD, O_RDWR);
	int copies[5];

	CHECK(fd >= 0 && other >= 0 && make_vm(fd) == 1);
	copies[0] = fcntl(fd, F_DUPFD, 100);
	copies[1] = fcntl64(fd, F_DUPFD_CLOEXEC, 100);
	copies[2] = dup2(fd, 120);
	copies[3] = dup3(fd, 121, O_CLOEXEC);
	copies[4] = dup2(fd, other); /* which is closed by that */
	CHECK(dup2(fd, fd) == fd && copies[4] == other);
	CHECK(fcntl(copies[1], F_GETFD) == FD_CLOEXEC && fcntl64(copies[0], F_GETFD) == 0);
	for (uint32_t i = 0; i < 5; i++)
		CHECK(copies[i] >= 0 && make_vm(copies[i]) == 2 + i);
	CHECK(!close(fd) && make_vm(copies[4]) == 7);
	for (uint32_t i = 0; i < 5; i++)
		CHECK(!close(copies[i]));
	CHECK(dup(-1) < 0 && dup2(fd, -1) < 0 && dup3(120, 121, 0) < 0);
	/* Closed where nobody sees it, and the number given to another. */
	fd = open(CARD, O_RDWR);
	CHECK(make_vm(fd) == 1 && !syscall(SYS_close, fd));
	CHECK(open("/dev/null", O_RDWR) == fd && !make_vm(fd));
	CHECK(!close(fd));
}

static void nothing_of_a_card_has_attributes(void)
{
	static const char name[] = "security.selinux";
	char text[64];

	CHECK(getxattr(CARD, name, text, sizeof(text)) < 0 && errno == ENOTSUP);
	CHECK(lgetxattr("/dev/dri", name, text, sizeof(text)) < 0 && errno == ENOTSUP);
	CHECK(!listxattr(CARD, text, sizeof(text)) && !llistxattr("/dev/dri", NULL, 0));
	CHECK(getxattr("/dev/dri/card7", name, text, sizeof(text)) < 0 && errno == ENOENT);
	CHECK(listxattr("/dev/dri/card7", text, sizeof(text)) < 0 && errno == ENOENT);
	CHECK(lgetxattr("/nowhere", name, text, sizeof(text)) < 0 && errno == ENOENT);
	CHECK(llistxattr("/nowhere", text, sizeof(text)) < 0 && errno == ENOENT);
}

static void every_way_to_look_says_device(void)
{
	int folder = open("/dev/dri", O_RDONLY | O_DIRECTORY);
	struct dirent **names;
	struct dirent64 **names64;
	struct stat64 st64;
	struct statx stx;
	struct stat st;
	int count;

	CHECK(!stat(CARD, &st) && S_ISCHR(st.st_mode) && !st.st_size);
	CHECK(!stat64(CARD, &st64) && st64.st_rdev == makedev(226, 1));
	CHECK(!lstat(CARD, &st) && S_ISCHR(st.st_mode));
	CHECK(!lstat64(CARD, &st64) && S_ISCHR(st64.st_mode));
	CHECK(!fstatat(folder, "renderD129", &st, 0) && st.st_rdev == makedev(226, 129));
	CHECK(!fstatat(folder, CARD, &st, 0) && st.st_rdev == makedev(226, 1));
	CHECK(!fstatat64(AT_FDCWD, CARD, &st64, 0) && S_ISCHR(st64.st_mode));
	CHECK(!fstat64(folder, &st64) && S_ISDIR(st64.st_mode));
	CHECK(!statx(AT_FDCWD, CARD, 0, STATX_BASIC_STATS, &stx) && S_ISCHR(stx.stx_mode));
	CHECK(stx.stx_rdev_major == 226 && stx.stx_rdev_minor == 1);
	CHECK(statx(folder, "card7", 0, STATX_BASIC_STATS, &stx) && errno == ENOENT);
	CHECK(!stat("/dev/null", &st) && st.st_rdev == makedev(1, 3));
	CHECK(!fstatat(AT_FDCWD, "/dev/null", &st, 0) && st.st_rdev == makedev(1, 3));
	CHECK(!access(CARD, R_OK | W_OK) && access("/dev/dri/card7", R_OK));
	CHECK(!faccessat(folder, "card0", R_OK, 0) && faccessat(folder, "card7", R_OK, 0));
	CHECK(!faccessat(AT_FDCWD, "/dev/null", R_OK, 0));
	count = scandir("/dev/dri", &names, NULL, alphasort);
	CHECK(count == 6 && !strcmp(names[2]->d_name, "card0"));
	while (count)
		free(names[--count]);
	free(names);
	count = scandir64("/dev/dri", &names64, NULL, alphasort64);
	CHECK(count == 6 && !strcmp(names64[2]->d_name, "card0"));
	while (count)
		free(names64[--count]);
	free(names64);
	CHECK(!close(folder));
}

static void links_do_not_tell_of_the_tree(void)
{
	static const char start[] = "/sys/devices/pci";
	char text[PATH_MAX] = { 0 }, small[8], *whole;
	int folder = open("/sys/class/drm", O_RDONLY | O_DIRECTORY);
	struct statfs64 fs64;
	struct statfs fs;

	CHECK(folder >= 0);
	CHECK(readlink("/sys/class/drm/card1", text, sizeof(text)) > 0);
	CHECK(!strncmp(text, start, strlen(start)));
	CHECK(readlinkat(folder, "card1", small, sizeof(small)) == sizeof(small));
	CHECK(!memcmp(small, start, sizeof(small)));
	CHECK(readlinkat(AT_FDCWD, "/sys/dev/char/226:129", text, sizeof(text)) > 0);
	CHECK(!strncmp(text, start, strlen(start)) && strstr(text, "renderD129"));
	CHECK(readlink("/dev/dri/card1", text, sizeof(text)) < 0 && errno == EINVAL);
	CHECK(realpath("/sys/class/drm/card1", text) == text);
	CHECK(!strncmp(text, start, strlen(start)));
	whole = __realpath_chk("/sys/class/drm/card1/device", NULL, SIZE_MAX);
	CHECK(whole && !strncmp(whole, start, strlen(start)));
	free(whole);
	CHECK(!realpath("/sys/class/drm/card7", text) && errno == ENOENT);
	CHECK(realpath("/dev/null", text) && !strcmp(text, "/dev/null"));
	CHECK(!statfs("/sys/class/drm/card1/dev", &fs) && fs.f_type == SYSFS);
	CHECK(!statfs64("/tmp", &fs64) && fs64.f_type != SYSFS);
	CHECK(!fstatfs(folder, &fs) && fs.f_type == SYSFS);
	CHECK(!fstatfs64(folder, &fs64) && fs64.f_type == SYSFS);
	CHECK(fstatfs(-1, &fs) && statfs("/sys/class/drm/card7", &fs));
	CHECK(!close(folder));
}

/* What is made when it is opened, and what has lain there. */
static void texts_can_be_read(void)
{
	int folder = open("/sys/kernel/debug/dri/1/gt0", O_RDONLY | O_DIRECTORY);
	int fd = openat(folder, "stats", O_RDONLY | O_CLOEXEC);
	FILE *file = fopen64("/sys/class/drm/card1/dev", "r");
	char text[256] = { 0 };

	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && strstr(text, "pagefault"));
	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC && !close(fd));
	CHECK(file && fgets(text, sizeof(text), file) && !strcmp(text, "226:1\n"));
	CHECK(!fclose(file));
	file = fopen("/sys/kernel/debug/dri/0/gt0/stats", "r");
	CHECK(file && fgets(text, sizeof(text), file) && !fclose(file));
	CHECK(open("/sys/kernel/debug/dri/9/gt0/stats", O_RDONLY) < 0);
	CHECK(!fopen("/sys/kernel/debug/dri/0/gt1/stats", "r"));
	/* To write is something else. */
	fd = open("/sys/kernel/debug/dri/0/gt0/stats", O_RDWR);
	CHECK(fd >= 0 && read(fd, text, sizeof(text)) == 0 && !close(fd));
	CHECK(!mount("debug", "/sys/kernel/debug", "debugfs", 0, NULL));
	CHECK(mount("none", "/nowhere-at-all", "tmpfs", 0, NULL) < 0);
	CHECK(!close(folder));
}

static uint64_t make_object(int fd, uint64_t bytes)
{
	struct xe_gem_create create = {
		.bytes = bytes, .placement = 1, .cpu_caching = XE_GEM_CACHING_WC,
	};
	struct xe_gem_mmap_offset offset = { 0 };

	CHECK(!ioctl(fd, REQUEST(XE_GEM_CREATE, struct xe_gem_create), &create));
	offset.handle = create.handle;
	CHECK(!ioctl(fd, REQUEST(XE_GEM_MMAP_OFFSET, struct xe_gem_mmap_offset), &offset));
	return offset.offset;
}

static void objects_are_mapped_shared_and_can_be_read(void)
{
	struct xe_gem_mmap_offset barrier = { .flags = XE_MMAP_OFFSET_PCI_BARRIER };
	int fd = open(CARD, O_RDWR);
	uint64_t offset = make_object(fd, 4 * PAGE);
	uint32_t *one, *other, *place, *page;

	/* To write alone: processors know no such thing. */
	one = mmap(NULL, 4 * PAGE, PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
	CHECK(one != MAP_FAILED && one[0] == 0);
	place = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(place != MAP_FAILED);
	other = mmap64(place, 2 * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd,
		       (off_t)(offset + PAGE));
	CHECK(other == place);
	one[PAGE / 4] = 42;
	CHECK(other[0] == 42);
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, (off_t)offset) == MAP_FAILED);
	CHECK(errno == EINVAL);
	CHECK(mmap(NULL, 5 * PAGE, PROT_READ, MAP_SHARED, fd, (off_t)offset) == MAP_FAILED);
	/* It moves as any mapping does. */
	page = mremap(other, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, one);
	CHECK(page == one && one[0] == 42);
	CHECK(mremap(one, 2 * PAGE, PAGE, 0) == one && one[0] == 42);
	CHECK(!munmap(one, 4 * PAGE));
	/* The page that orders writes can be written, and no more. */
	CHECK(!ioctl(fd, REQUEST(XE_GEM_MMAP_OFFSET, struct xe_gem_mmap_offset), &barrier));
	page = mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, fd, (off_t)barrier.offset);
	CHECK(page != MAP_FAILED);
	page[0] = 1;
	CHECK(!munmap(page, PAGE));
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, (off_t)barrier.offset) == MAP_FAILED);
	CHECK(mmap(NULL, 2 * PAGE, PROT_WRITE, MAP_SHARED, fd, (off_t)barrier.offset) ==
	      MAP_FAILED);
	CHECK(!close(fd));
}

static void what_is_refused_is_in_the_log(void)
{
	char path[64], text[256] = { 0 };
	int fd = open(CARD, O_RDWR), log;

	snprintf(path, sizeof(path), "/tmp/usvm-preload-log-%d", (int)getpid());
	CHECK(!setenv("USVM_LOG", path, 1));
	CHECK(ioctl(fd, _IO(XE_IOCTL_TYPE, 0x9f), NULL) && errno == EINVAL);
	log = open(path, O_RDONLY);
	CHECK(log >= 0 && read(log, text, sizeof(text) - 1) > 0);
	CHECK(strstr(text, ": no such ioctl: 159\n"));
	CHECK(!close(log) && !unlink(path));
	CHECK(!setenv("USVM_LOG", "-", 1));
	CHECK(ioctl(fd, _IO(XE_IOCTL_TYPE, 0x9f), NULL) && errno == EINVAL);
	CHECK(!setenv("USVM_LOG", "/nowhere-at-all/log", 1));
	CHECK(ioctl(fd, _IO(XE_IOCTL_TYPE, 0x9f), NULL) && errno == EINVAL);
	CHECK(!unsetenv("USVM_LOG"));
	CHECK(ioctl(fd, _IO('T', 1), NULL) && errno == ENOTTY);
	CHECK(!close(fd));
}

/* A program in the place of a child of this one. */
static int run_self(const char *what)
{
	pid_t child = fork();
	int status;

	CHECK(child >= 0);
	if (!child) {
		execl(program, program, what, (char *)NULL);
		_exit(99);
	}
	CHECK(waitpid(child, &status, 0) == child);
	return status;
}

static void a_program_that_is_executed_has_cards_and_files_of_its_own(void)
{
	int fd = open(CARD, O_RDWR);

	CHECK(make_vm(fd) == 1);
	CHECK(!run_self("again"));
	CHECK(make_vm(fd) == 2 && !close(fd));
	/* Without the tree the library is there and does nothing. */
	CHECK(!unsetenv("USVM_XE_ROOT") && !run_self("off"));
}

static int as_executed(const char *what)
{
	int fd = open(CARD, O_RDWR);
	struct stat st;

	if (!strcmp(what, "again")) {
		CHECK(make_vm(fd) == 1);
		return 0;
	}
	CHECK((fd < 0) == (syscall(SYS_faccessat, AT_FDCWD, CARD, F_OK) < 0));
	CHECK(!stat("/dev/null", &st) && S_ISCHR(st.st_mode));
	CHECK(!munmap(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), PAGE));
	return 0;
}

/* As many as there is room for, which is more than a program may have by default. */
static void too_many_files_are_refused(void)
{
	struct rlimit limit;
	int *fds = calloc(5000, sizeof(*fds)), count = 0;

	CHECK(fds && !getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max < 5000 ? limit.rlim_max : 5000;
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	while (count < 5000 && (fds[count] = open(CARD, O_RDWR)) >= 0)
		count++;
	CHECK(errno == (limit.rlim_cur == 5000 ? ENFILE : EMFILE));
	CHECK(limit.rlim_cur < 5000 || count == 4096);
	CHECK(make_vm(fds[count - 1]) == 1);
	while (count)
		CHECK(!close(fds[--count]));
	free(fds);
	CHECK((count = open(CARD, O_RDWR)) >= 0 && make_vm(count) == 1 && !close(count));
}

static void read_all(int fd, char *text, size_t bytes)
{
	ssize_t length;

	CHECK(fd >= 0);
	length = read(fd, text, bytes - 1);
	CHECK(length >= 0 && !close(fd));
	text[length] = 0;
}

static uint64_t client_id(const char *text)
{
	const char *at = strstr(text, "drm-client-id:\t");

	CHECK(at);
	return strtoull(at + strlen("drm-client-id:\t"), NULL, 10);
}

static void expect_client(const char *text)
{
	CHECK(!strncmp(text, "pos:\t", 5) && strstr(text, "\nflags:\t"));
	CHECK(strstr(text, "\ndrm-driver:\txe\n"));
	CHECK(strstr(text, "\ndrm-pdev:\t0000:e0:04.0\n"));
	CHECK(strstr(text, "\ndrm-total-vram0:\t64 KiB\n"));
	CHECK(strstr(text, "\ndrm-resident-vram0:\t64 KiB\n"));
	CHECK(strstr(text, "\ndrm-total-cycles-ccs:\t"));
}

static void what_the_kernel_tells_of_a_descriptor_goes_on_with_the_card(void)
{
	struct xe_gem_create object = {
		.bytes = 65536, .placement = 1u << 1, .cpu_caching = XE_GEM_CACHING_WC,
	};
	int fd = open(CARD, O_RDWR), other = open(CARD, O_RDWR), copy = dup(fd);
	int folder = open("/proc/self/fdinfo", O_RDONLY | O_DIRECTORY), info;
	char path[64], number[16], text[4096], other_text[4096];
	FILE *stream;

	CHECK(fd >= 0 && other >= 0 && copy >= 0 && folder >= 0);
	CHECK(!ioctl(fd, REQUEST(XE_GEM_CREATE, struct xe_gem_create), &object));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	read_all(open(path, O_RDONLY), text, sizeof(text));
	expect_client(text);
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)getpid(), copy);
	read_all(openat64(AT_FDCWD, path, O_RDONLY), other_text, sizeof(other_text));
	expect_client(other_text);
	CHECK(client_id(text) == client_id(other_text)); /* one file */
	snprintf(number, sizeof(number), "%d", fd);
	info = openat(folder, number, O_RDONLY | O_CLOEXEC);
	CHECK(fcntl(info, F_GETFD) == FD_CLOEXEC);
	read_all(info, other_text, sizeof(other_text));
	expect_client(other_text);
	stream = fopen(path, "r");
	CHECK(stream && fread(other_text, 1, sizeof(other_text), stream) > 256);
	CHECK(!strncmp(other_text, "pos:", 4) && !fclose(stream));
	snprintf(path, sizeof(path), "/proc/thread-self/fdinfo/%d", other);
	read_all(open64(path, O_RDONLY), other_text, sizeof(other_text));
	CHECK(client_id(text) != client_id(other_text));
	CHECK(strstr(other_text, "\ndrm-total-vram0:\t0\n"));
	/* Of others the kernel alone tells. */
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", folder);
	read_all(open(path, O_RDONLY), text, sizeof(text));
	CHECK(!strncmp(text, "pos:\t", 5) && !strstr(text, "drm-"));
	CHECK(open("/proc/self/fdinfo/99999", O_RDONLY) < 0 && errno == ENOENT);
	CHECK(open("/proc/self/fdinfo/x", O_RDONLY) < 0 && errno == ENOENT);
	CHECK(!close(fd) && !close(other) && !close(copy) && !close(folder));
}

int main(int argc, char **argv)
{
	program = argv[0];
	if (argc > 1)
		return as_executed(argv[1]);
	every_way_to_open_leads_to_a_card();
	other_files_are_what_they_were();
	duplicates_of_every_kind_are_one_file();
	every_way_to_look_says_device();
	nothing_of_a_card_has_attributes();
	links_do_not_tell_of_the_tree();
	texts_can_be_read();
	what_the_kernel_tells_of_a_descriptor_goes_on_with_the_card();
	objects_are_mapped_shared_and_can_be_read();
	what_is_refused_is_in_the_log();
	too_many_files_are_refused();
	a_program_that_is_executed_has_cards_and_files_of_its_own();
	return 0;
}
