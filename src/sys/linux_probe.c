/* SPDX-License-Identifier: MIT */
/*
 * DOC: what this kernel can do
 *
 * Asked of the kernel itself, by trying: version numbers lie (backports,
 * containers that filter calls). The userfaultfds and descriptors of the
 * attempts are closed again at once; they are in the program's file table.
 *
 * A userfaultfd says hello once. An unknown bit is EINVAL and it may be tried
 * again; a right that is missing is EPERM. So the kernel is asked what it has
 * with a request of nothing, and then with everything wanted, less what needs
 * rights if that fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/mman.h>

#include "sys/linux_abi.h"
#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

/* Without these the program's changes go unseen, and nothing works. */
#define UFFD_NEEDED \
	(ABI_UFFD_EVENT_REMAP | ABI_UFFD_EVENT_REMOVE | ABI_UFFD_EVENT_UNMAP)

static const struct {
	uint32_t feature;
	uint64_t uffd;
} uffd_bits[] = {
	{ SYS_FEATURE_UFFD, UFFD_NEEDED },
	{ SYS_FEATURE_EVENT_FORK, ABI_UFFD_EVENT_FORK },
	{ SYS_FEATURE_MOVE, ABI_UFFD_MOVE },
	{ SYS_FEATURE_WP_ASYNC, ABI_UFFD_WP_ASYNC | ABI_UFFD_PAGEFAULT_FLAG_WP },
	{ SYS_FEATURE_POISON, ABI_UFFD_POISON },
	{ SYS_FEATURE_THREAD_ID, ABI_UFFD_THREAD_ID },
};

/* --- userfaultfd --------------------------------------------------------- */

/* A bare descriptor; the call, then the device, which needs no right but that
 * of opening it. */
static int uffd_create(bool kernel_faults)
{
	const uint64_t flags = O_CLOEXEC | O_NONBLOCK;
	int device;
	int fd;

	if (!kernel_faults)
		return (int)linux_call(SYS_userfaultfd,
				       flags | ABI_UFFD_USER_MODE_ONLY);
	fd = (int)linux_call(SYS_userfaultfd, flags);
	if (fd >= 0)
		return fd;
	device = linux_open("/dev/userfaultfd", O_RDWR);
	if (device < 0)
		return fd;
	fd = (int)linux_call(SYS_ioctl, device, ABI_UFFD_IOCTL_NEW, flags);
	linux_close(device);
	return fd;
}

/* @bits: in: wanted; out: what the kernel has. */
static int uffd_hello(int fd, uint64_t *bits)
{
	struct uffdio_api hello = { .api = UFFD_API, .features = *bits };
	int err = (int)linux_call(SYS_ioctl, fd, UFFDIO_API, &hello);

	*bits = hello.features;
	return err;
}

int linux_uffd_open_with(uint32_t features, int *uffd)
{
	uint64_t bits = 0;
	int fd = uffd_create(features & SYS_FEATURE_KERNEL_FAULTS);
	int err;

	if (fd < 0)
		return fd;
	for (size_t i = 0; i < ARRAY_SIZE(uffd_bits); i++) {
		if (features & uffd_bits[i].feature)
			bits |= uffd_bits[i].uffd;
	}
	err = uffd_hello(fd, &bits);
	if (err) {
		linux_close(fd);
		return err;
	}
	*uffd = fd;
	return 0;
}

static uint32_t probe_uffd(uint32_t masked)
{
	uint32_t found = 0;
	uint64_t bits = 0;
	int fd = -1;
	int err;

	if (!(masked & SYS_FEATURE_KERNEL_FAULTS))
		fd = uffd_create(true);
	if (fd >= 0)
		found = SYS_FEATURE_KERNEL_FAULTS;
	else
		fd = uffd_create(false);
	if (fd < 0)
		return 0;
	err = uffd_hello(fd, &bits);
	linux_close(fd);
	if (err)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(uffd_bits); i++) {
		if ((bits & uffd_bits[i].uffd) == uffd_bits[i].uffd)
			found |= uffd_bits[i].feature;
	}
	if (!(found & SYS_FEATURE_UFFD))
		return 0;

	err = linux_uffd_open_with(found, &fd);
	if (err == -EPERM) {
		found &= ~(uint32_t)SYS_FEATURE_EVENT_FORK;
		err = linux_uffd_open_with(found, &fd);
	}
	if (err)
		return 0;
	linux_close(fd);
	return found;
}

/* --- the rest ------------------------------------------------------------ */

static bool probe_vma_query(void)
{
	struct abi_vma_query query = {
		.struct_bytes = sizeof(query),
		.query_addr = (uintptr_t)&query,
	};
	int fd = linux_open("/proc/thread-self/maps", O_RDONLY);
	int64_t err;

	if (fd < 0)
		return false;
	err = linux_call(SYS_ioctl, fd, ABI_VMA_IOCTL_QUERY, &query);
	linux_close(fd);
	return err == 0;
}

static bool try_page_scan(int fd, uint64_t categories)
{
	uint64_t here = ALIGN_DOWN((uintptr_t)&fd, PAGE_BYTES);
	struct abi_page_region region;
	struct abi_page_scan scan = {
		.struct_bytes = sizeof(scan),
		.start = here,
		.end = here + PAGE_BYTES,
		.regions_addr = (uintptr_t)&region,
		.region_count_max = 1,
		.any_of = categories,
		.report = categories,
	};

	return linux_call(SYS_ioctl, fd, ABI_PAGE_IOCTL_SCAN, &scan) == 1;
}

static bool probe_page_scan(bool *tells_guards)
{
	int fd = linux_open("/proc/thread-self/pagemap", O_RDONLY);
	bool works;

	*tells_guards = false;
	if (fd < 0)
		return false;
	works = try_page_scan(fd, ABI_PAGE_PRESENT);
	if (works)
		*tells_guards = try_page_scan(fd, ABI_PAGE_PRESENT |
							  ABI_PAGE_GUARD);
	linux_close(fd);
	return works;
}

static bool probe_guard(void)
{
	int64_t page = linux_call(SYS_mmap, 0, PAGE_BYTES,
				  PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int64_t err;

	if (page < 0 && page >= -4095)
		return false;
	err = linux_call(SYS_madvise, page, PAGE_BYTES, ABI_MADV_GUARD_INSTALL);
	linux_call(SYS_munmap, page, PAGE_BYTES);
	return err == 0;
}

void linux_probe_features(struct linux_sys *sys, uint32_t masked)
{
	uint32_t found = probe_uffd(0);

	if (probe_vma_query())
		found |= SYS_FEATURE_PROCMAP_QUERY;
	if (probe_page_scan(&sys->scan_tells_guards))
		found |= SYS_FEATURE_PAGEMAP_SCAN;
	if (probe_guard())
		found |= SYS_FEATURE_GUARD;
	if (linux_call(SYS_membarrier,
		       MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0) == 0)
		found |= SYS_FEATURE_MEMBARRIER;
	sys->sys.features_found = found;
	sys->sys.features = found & ~masked;
}

/* --- limits -------------------------------------------------------------- */

static uint32_t count_cpus(void)
{
	uint64_t set[128] = { 0 };
	uint32_t count = 0;
	int64_t bytes = linux_call(SYS_sched_getaffinity, 0, sizeof(set), set);

	for (int64_t i = 0; i < bytes / 8; i++)
		count += (uint32_t)__builtin_popcountll(set[i]);
	return MAX(count, 1u);
}

void linux_probe_limits(struct sys_limits *limits)
{
	const char *at;
	char text[128];

	*limits = (struct sys_limits){
		.max_map_count = 65530, /* the kernel's default */
		.cpu_count = count_cpus(),
	};
	if (linux_read_file("/proc/sys/vm/max_map_count", text,
			    sizeof(text)) > 0) {
		at = text;
		limits->max_map_count = linux_take_number(&at, 10);
	}
	if (linux_read_file("/sys/kernel/mm/transparent_hugepage/enabled", text,
			    sizeof(text)) > 0) {
		limits->huge_pages_always = strstr(text, "[always]");
		limits->huge_pages_never = strstr(text, "[never]");
	} else {
		limits->huge_pages_never = true;
	}
}
