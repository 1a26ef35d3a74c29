/* SPDX-License-Identifier: MIT */
/*
 * DOC: what is mapped where
 *
 * One question, vma_query(), with two answers that must agree (a test compares
 * them on random mappings): PROCMAP_QUERY, half a microsecond at any number of
 * mappings, and for older kernels a walk through the text of /proc/self/maps.
 * The text is read through a descriptor of its own each time, for two readers
 * of one offset would each see pieces of lines. Where there is none (the program
 * may set RLIMIT_NOFILE to what it uses) they take turns with the one that the
 * library's table has.
 *
 * The kernel has no field for the kind of a mapping; it is told from what is
 * shared, what has a file, and the name:
 *
 *     no file     "", [heap], [anon:x]               ANON_PRIVATE
 *                 [stack]                            STACK
 *                 [vdso], [vvar], ...                SPECIAL
 *     a file      /dev/zero, private                 ANON_PRIVATE
 *                 /dev/zero (deleted), shared        ANON_SHARED
 *                 [anon_shmem:x]                     ANON_SHARED
 *                 anything else                      FILE_*
 *     pages larger than 4 KiB                        HUGETLB, whatever the name
 *
 * A .bss is a mapping of its own without a file and so ANON_PRIVATE. A name
 * that does not fit into NAME_BYTES is a path, and none of the above.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "sys/linux_abi.h"
#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

#define NAME_BYTES 128

/* A mapping as either interface tells it. */
struct mapping {
	struct span span;
	uint32_t flags; /* enum abi_vma_flag */
	uint64_t page_bytes;
	uint64_t file_offset;
	uint64_t inode;
	uint64_t device_number;
	char name[NAME_BYTES]; /* cut off if longer */
};

static bool starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

static enum sys_vma_kind kind_of(const struct mapping *m)
{
	bool shared = m->flags & ABI_VMA_SHARED;

	if (m->page_bytes != PAGE_BYTES)
		return SYS_VMA_HUGETLB;
	if (!m->inode && m->name[0] != '/') {
		if (!m->name[0] || !strcmp(m->name, "[heap]") ||
		    starts_with(m->name, "[anon:"))
			return shared ? SYS_VMA_ANON_SHARED :
					SYS_VMA_ANON_PRIVATE;
		if (starts_with(m->name, "[stack"))
			return SYS_VMA_STACK;
		return SYS_VMA_SPECIAL;
	}
	if (!shared)
		return strcmp(m->name, "/dev/zero") ? SYS_VMA_FILE_PRIVATE :
						      SYS_VMA_ANON_PRIVATE;
	if (!strcmp(m->name, "/dev/zero (deleted)") ||
	    starts_with(m->name, "[anon_shmem:"))
		return SYS_VMA_ANON_SHARED;
	return SYS_VMA_FILE_SHARED;
}

/* device_number: the major number above the minor, 32 bits each. */
static uint64_t device_number(uint64_t major, uint64_t minor)
{
	return major << 32 | minor;
}

static void to_vma(const struct mapping *m, struct sys_vma *vma)
{
	uint32_t prot = 0;

	if (m->flags & ABI_VMA_READ)
		prot |= SYS_PROT_READ;
	if (m->flags & ABI_VMA_WRITE)
		prot |= SYS_PROT_WRITE;
	if (m->flags & ABI_VMA_EXEC)
		prot |= SYS_PROT_EXEC;
	*vma = (struct sys_vma){
		.span = m->span,
		.prot = prot,
		.kind = kind_of(m),
		.file_offset = m->file_offset,
		.inode = m->inode,
		.device_number = m->device_number,
	};
}

/* --- PROCMAP_QUERY ------------------------------------------------------- */

static int query_by_ioctl(uint64_t addr, bool or_next, struct mapping *m)
{
	struct abi_vma_query query;
	int own = linux_tls.files.maps;
	uint32_t name_bytes = NAME_BYTES;
	int fd;
	int err = linux_files_borrow(own, "/proc/thread-self/maps", &fd);

	if (err)
		return err;
	for (;;) {
		query = (struct abi_vma_query){
			.struct_bytes = sizeof(query),
			.query_flags = or_next ? ABI_VMA_OR_NEXT : 0,
			.query_addr = addr,
			.name_bytes = name_bytes,
			.name_addr = name_bytes ? (uintptr_t)m->name : 0,
		};
		m->name[0] = '\0';
		err = (int)linux_call(SYS_ioctl, fd, ABI_VMA_IOCTL_QUERY,
				      &query);
		if (err != -ENAMETOOLONG || !name_bytes)
			break;
		name_bytes = 0;
	}
	linux_files_return(own, fd);
	if (err)
		return err;
	if (!name_bytes) {
		/* Asked again without the name: a long path. */
		m->name[0] = '/';
		m->name[1] = '\0';
	} else if (!query.name_bytes) {
		m->name[0] = '\0';
	}
	m->span.start = query.start;
	m->span.end = query.end;
	m->flags = (uint32_t)query.flags;
	m->page_bytes = query.page_bytes;
	m->file_offset = query.file_offset;
	m->inode = query.inode;
	m->device_number = device_number(query.device_major,
					 query.device_minor);
	return 0;
}

/* --- the text ------------------------------------------------------------ */

struct line_reader {
	int fd;
	size_t next;
	size_t used;
	char buffer[4096];
};

/* The next line, cut off at @max - 1. Return: 1, 0 at the end, -errno. */
static int next_line(struct line_reader *reader, char *line, size_t max)
{
	size_t length = 0;

	for (;;) {
		char c;

		if (reader->next == reader->used) {
			int64_t got = linux_call(SYS_read, reader->fd,
						 reader->buffer,
						 sizeof(reader->buffer));

			if (got <= 0)
				return (int)got;
			reader->used = (size_t)got;
			reader->next = 0;
		}
		c = reader->buffer[reader->next++];
		if (c == '\n')
			break;
		if (length < max - 1)
			line[length++] = c;
	}
	line[length] = '\0';
	return 1;
}

static bool is_huge_device(const struct linux_sys *sys, uint64_t number)
{
	for (size_t i = 0; i < sys->huge_device_count; i++) {
		if (sys->huge_devices[i] == number)
			return true;
	}
	return false;
}

/* start-end perms offset major:minor inode     name */
static void parse_line(const struct linux_sys *sys, const char *at,
		       struct mapping *m)
{
	uint64_t major;
	size_t length;

	m->span.start = linux_take_number(&at, 16);
	at++;
	m->span.end = linux_take_number(&at, 16);
	at++;
	m->flags = (at[0] == 'r' ? ABI_VMA_READ : 0) |
		   (at[1] == 'w' ? ABI_VMA_WRITE : 0) |
		   (at[2] == 'x' ? ABI_VMA_EXEC : 0) |
		   (at[3] == 's' ? ABI_VMA_SHARED : 0);
	at += 5;
	m->file_offset = linux_take_number(&at, 16);
	at++;
	major = linux_take_number(&at, 16);
	at++;
	m->device_number = device_number(major, linux_take_number(&at, 16));
	at++;
	m->inode = linux_take_number(&at, 10);
	while (*at == ' ')
		at++;
	length = MIN(strlen(at), sizeof(m->name) - 1);
	memcpy(m->name, at, length);
	m->name[length] = '\0';
	m->page_bytes = PAGE_BYTES;
	if (m->inode && (starts_with(m->name, "/anon_hugepage") ||
			 is_huge_device(sys, m->device_number)))
		m->page_bytes = HUGE_BYTES;
}

/* The line of the mapping at @addr or behind. Return: 1, 0: there is none, -errno. */
static int find_line(const struct linux_sys *sys, int fd, uint64_t addr, struct mapping *m)
{
	struct line_reader reader = { .fd = fd };
	char line[128 + NAME_BYTES];
	int found;

	while ((found = next_line(&reader, line, sizeof(line))) > 0) {
		parse_line(sys, line, m);
		if (m->span.end > addr)
			break;
	}
	return found;
}

static int query_by_text(struct linux_sys *sys, uint64_t addr, bool or_next,
			 struct mapping *m)
{
	int own = linux_tls.files.maps;
	int found = linux_open("/proc/thread-self/maps", O_RDONLY);

	if (found >= 0) {
		int fd = found;

		found = find_line(sys, fd, addr, m);
		linux_close(fd);
	} else if (own >= 0) {
		lock_acquire(&sys->maps_lock);
		found = (int)linux_call(SYS_lseek, own, 0, SEEK_SET);
		if (!found)
			found = find_line(sys, own, addr, m);
		lock_release(&sys->maps_lock);
	}
	if (found < 0)
		return found;
	/* [vsyscall] is in the kernel's half: it is listed, but not mapped. */
	if (!found || (int64_t)m->span.start < 0)
		return -ENOENT;
	return or_next || m->span.start <= addr ? 0 : -ENOENT;
}

int linux_vma_query(struct sys *sys, uint64_t addr, bool or_next,
		    struct sys_vma *vma)
{
	struct mapping m;
	int err;

	if (sys_has(sys, SYS_FEATURE_PROCMAP_QUERY))
		err = query_by_ioctl(addr, or_next, &m);
	else
		err = query_by_text(linux_of(sys), addr, or_next, &m);
	if (!err)
		to_vma(&m, vma);
	return err;
}

/* --- what no other interface tells ---------------------------------------- */

/* In smaps a mapping is a line as in maps and lines of "Key: value" behind it. */
int linux_wiped_on_fork(struct sys *sys, struct span *spans, size_t max, size_t *count)
{
	struct line_reader reader = { .next = 0 };
	struct mapping m = { .inode = 0 };
	char line[128 + NAME_BYTES];
	int found;
	int own = linux_tls.files.smaps;
	int err = linux_files_borrow(own, "/proc/thread-self/smaps", &reader.fd);

	if (err)
		return err;
	linux_call(SYS_lseek, reader.fd, 0, SEEK_SET);
	*count = 0;
	while ((found = next_line(&reader, line, sizeof(line))) > 0) {
		if (line[0] < 'A' || line[0] > 'Z') {
			parse_line(linux_of(sys), line, &m);
		} else if (starts_with(line, "VmFlags:") && strstr(line, " wf")) {
			if (*count < max)
				spans[*count] = m.span;
			(*count)++;
		}
	}
	linux_files_return(own, reader.fd);
	return found;
}

/* --- hugetlbfs, for the text --------------------------------------------- */

static void add_huge_device(struct linux_sys *sys, uint64_t number)
{
	if (sys->huge_device_count < LINUX_HUGE_DEVICE_COUNT_MAX)
		sys->huge_devices[sys->huge_device_count++] = number;
}

/* id parent major:minor root mount-point options - type source options */
static void parse_mount(struct linux_sys *sys, const char *line)
{
	const char *at = line;
	const char *type = strstr(line, " - ");
	uint64_t major;

	if (!type || !starts_with(type + 3, "hugetlbfs "))
		return;
	linux_take_number(&at, 10);
	at++;
	linux_take_number(&at, 10);
	at++;
	major = linux_take_number(&at, 10);
	at++;
	add_huge_device(sys, device_number(major,
					   linux_take_number(&at, 10)));
}

/* Anonymous huge pages have their own name, but a memfd of them has not: ask an
 * empty one which device it is on. */
static void find_huge_memfd(struct linux_sys *sys, uint32_t shift)
{
	struct statx status;
	int64_t fd = linux_call(SYS_memfd_create, "",
				MFD_CLOEXEC | MFD_HUGETLB | shift << 26);

	if (fd < 0)
		return;
	if (linux_call(SYS_statx, fd, "", AT_EMPTY_PATH, 0, &status) == 0)
		add_huge_device(sys, device_number(status.stx_dev_major,
						   status.stx_dev_minor));
	linux_close((int)fd);
}

void linux_find_huge_devices(struct linux_sys *sys)
{
	struct line_reader reader = { .next = 0 };
	char line[1024];

	sys->huge_device_count = 0;
	find_huge_memfd(sys, 21);
	find_huge_memfd(sys, 30);
	reader.fd = linux_open("/proc/thread-self/mountinfo", O_RDONLY);
	if (reader.fd < 0)
		return;
	while (next_line(&reader, line, sizeof(line)) > 0)
		parse_mount(sys, line);
	linux_close(reader.fd);
}
