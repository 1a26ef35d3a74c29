/* SPDX-License-Identifier: MIT */
/*
 * DOC: what must never migrate, and what system call a thread is in
 *
 * If a page on which the way of serving faults depends were on the device, a
 * fault on it would wait for itself. Those pages are:
 *
 *  - the library's own (linux_pages.c, linux_memory.c);
 *  - writable segments of this library, the C library and the dynamic linker
 *    (and of sanitizers, which run in every function of theirs), found once at
 *    the first open: they never move;
 *  - the stack of each thread with what lies on top of it: the thread's record
 *    of the C library, its TLS and rseq area. The kernel writes to those by
 *    itself. get_robust_list(2) gives an address inside any thread's record;
 *    the stack is what lies below it in the same mapping. The first thread has
 *    its record elsewhere, with its TLS below.
 *
 * Threads of the program that were made by a raw clone() have no such record
 * and are not found.
 */
#include <errno.h>
#include <link.h>
#include <string.h>

#include "base/text.h"
#include "sys/linux_abi.h"
#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

/* The C library's record is 2304 bytes (2.36) and holds the robust list. */
#define RECORD_BYTES KIB(8)
/* What the C library keeps free beside the TLS of the modules that were there at start. */
#define TLS_SURPLUS_BYTES KIB(4)

struct span_list {
	struct span *spans;
	size_t max;
	size_t count;
};

static void add_span(struct span_list *list, struct span span)
{
	if (list->count < list->max)
		list->spans[list->count] = span;
	list->count++;
}

/* --- segments ------------------------------------------------------------ */

static bool is_system_library(const char *path)
{
	static const char *const names[] = {
		"libc.so",    "libc-",    "ld-linux", "ld-",	 "libpthread",
		"libpthread-", "libasan.", "libtsan.", "libubsan.", "liblsan.",
	};
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strncmp(name, names[i], strlen(names[i])) == 0)
			return true;
	}
	return false;
}

static struct span segment_span(const struct dl_phdr_info *module,
				const ElfW(Phdr) *header)
{
	return span_align_out(span_make(module->dlpi_addr + header->p_vaddr,
					header->p_memsz),
			      PAGE_BYTES);
}

static bool module_contains(const struct dl_phdr_info *module, uint64_t addr)
{
	for (int i = 0; i < module->dlpi_phnum; i++) {
		if (module->dlpi_phdr[i].p_type == PT_LOAD &&
		    span_contains(segment_span(module, &module->dlpi_phdr[i]),
				  addr))
			return true;
	}
	return false;
}

static int add_segments(struct dl_phdr_info *module, size_t size UNUSED,
			void *arg)
{
	struct linux_sys *sys = arg;
	bool is_ours = module_contains(module, (uintptr_t)&linux_sys);
	bool is_program = module->dlpi_name[0] == '\0';

	if (!is_ours && !is_system_library(module->dlpi_name) &&
	    !(LINUX_SANITIZED && is_program))
		return 0;
	for (int i = 0; i < module->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &module->dlpi_phdr[i];

		if (header->p_type != PT_LOAD || !(header->p_flags & PF_W))
			continue;
		if (sys->segment_count < LINUX_SEGMENT_COUNT_MAX)
			sys->segments[sys->segment_count++] =
				segment_span(module, header);
	}
	return 0;
}

/* The first thread's TLS ends at its record, and every module with TLS has a part of it. */
static int add_tls(struct dl_phdr_info *module, size_t bytes UNUSED, void *arg)
{
	struct linux_sys *sys = arg;

	for (unsigned int i = 0; i < module->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &module->dlpi_phdr[i];

		if (header->p_type == PT_TLS)
			sys->first_tls_bytes += header->p_memsz + header->p_align;
	}
	return 0;
}

void linux_find_segments(struct linux_sys *sys)
{
	sys->segment_count = 0;
	dl_iterate_phdr(add_segments, sys);
	sys->first_tls_bytes = TLS_SURPLUS_BYTES;
	dl_iterate_phdr(add_tls, sys);
}

/* --- stacks -------------------------------------------------------------- */

/* An address inside the C library's record of a thread, or 0. */
static uint64_t record_of(uint32_t thread_id)
{
	uint64_t head = 0;
	size_t bytes = 0;

	if (linux_call(SYS_get_robust_list, thread_id, &head, &bytes))
		return 0;
	return head;
}

static int add_thread(struct sys *sys, struct span_list *list,
		      uint32_t thread_id, uint32_t process_id)
{
	uint64_t record = record_of(thread_id);
	struct sys_vma vma;
	struct span span;
	int err;

	if (!record)
		return 0;
	err = linux_vma_query(sys, record, false, &vma);
	if (err)
		return err == -ENOENT ? 0 : err;
	span = vma.span;
	span.end = MIN(ALIGN_UP(record + RECORD_BYTES, PAGE_BYTES), span.end);
	if (thread_id == process_id)
		span.start = MAX(ALIGN_DOWN(record - linux_of(sys)->first_tls_bytes,
					    PAGE_BYTES),
				 span.start);
	add_span(list, span);
	return 0;
}

static int add_threads(struct sys *sys, struct span_list *list)
{
	uint32_t process_id = (uint32_t)linux_call(SYS_getpid);
	struct linux_number_dir dir;
	uint32_t thread_id;
	int err = linux_tasks_open(linux_of(sys), &dir);

	while (!err && (err = linux_number_dir_next(&dir, &thread_id)) > 0) {
		err = 0;
		if (!linux_thread_is_ours(linux_of(sys), thread_id))
			err = add_thread(sys, list, thread_id, process_id);
	}
	linux_tasks_close(linux_of(sys), &dir);
	return err;
}

/* [stack], whoever asks: the kernel put the program's arguments there. */
static int add_first_stack(struct sys *sys, struct span_list *list)
{
	struct sys_vma vma;
	int err = linux_vma_query(sys, linux_of(sys)->stack_addr, false, &vma);

	if (err)
		return err == -ENOENT ? 0 : err;
	add_span(list, vma.span);
	return 0;
}

int linux_exclusions(struct sys *sys, struct span *spans, size_t max,
		     size_t *count)
{
	const struct linux_sys *linux_state = linux_of(sys);
	struct span_list list = { .spans = spans, .max = max };
	int err;

	linux_pages_spans(spans, max, &list.count);
	linux_memory_spans(spans, max, &list.count);
	for (size_t i = 0; i < linux_state->segment_count; i++)
		add_span(&list, linux_state->segments[i]);
	err = add_first_stack(sys, &list);
	if (!err)
		err = add_threads(sys, &list);
	if (!err)
		*count = list.count;
	return err;
}

/* --- madvise() ----------------------------------------------------------- */

/* A worker of io_uring runs IORING_OP_MADVISE outside of any system call. */
static bool is_io_worker(const char *directory)
{
	char file[64];
	char name[32];
	struct text path;

	text_init(&path, file, sizeof(file));
	text_string(&path, directory);
	text_string(&path, "/comm");
	return linux_read_file(file, name, sizeof(name)) >= 4 && !memcmp(name, "iou-", 4);
}

#define SYSCALL_TEXT 256

/* /proc/self/task/TID/syscall begins with the number of the system call that
 * the thread sleeps in, with "running", or with -1 if it sleeps elsewhere. Behind a
 * number are its arguments. Return: bytes read, or -errno. */
static int64_t read_syscall(uint32_t thread_id, char directory[64], char text[SYSCALL_TEXT])
{
	char file[64];
	struct text path;

	text_init(&path, directory, 64);
	text_string(&path, "/proc/self/task/");
	text_number(&path, thread_id);
	text_init(&path, file, sizeof(file));
	text_string(&path, directory);
	text_string(&path, "/syscall");
	return linux_read_file(file, text, SYSCALL_TEXT);
}

static bool may_be_in_madvise(uint32_t thread_id)
{
	char directory[64];
	char text[SYSCALL_TEXT];
	const char *at = text;
	int64_t got = read_syscall(thread_id, directory, text);
	uint64_t number;

	/* Gone is fine; not to be known is not. */
	if (got <= 0)
		return linux_call(SYS_access, directory, 0) == 0;
	if (text[0] == '-')
		return is_io_worker(directory);
	if (text[0] < '0' || text[0] > '9')
		return true;
	number = linux_take_number(&at, 10);
	return number == ABI_CALL_MADVISE || number == ABI_CALL_PROCESS_MADVISE;
}

int linux_madvise_in_flight(struct sys *sys, bool *busy)
{
	uint32_t self = linux_thread_id(sys);
	struct linux_number_dir dir;
	uint32_t thread_id;
	bool found = false;
	int err = linux_tasks_open(linux_of(sys), &dir);

	while (!err && !found && (err = linux_number_dir_next(&dir, &thread_id)) > 0) {
		err = 0;
		if (thread_id != self && !linux_thread_is_ours(linux_of(sys), thread_id))
			found = may_be_in_madvise(thread_id);
	}
	linux_tasks_close(linux_of(sys), &dir);
	/* Not to be known is not to be idle. */
	*busy = found || err;
	return 0;
}

/* Does the system call @text takes away what was in @place? */
static bool takes_away(const char *text, struct span place, uint64_t except)
{
	uint64_t number = linux_take_number(&text, 10);
	uint64_t arguments[6] = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(arguments) && strncmp(text, " 0x", 3) == 0; i++) {
		text += 3;
		arguments[i] = linux_take_number(&text, 16);
	}
	switch (number) {
	case ABI_CALL_MREMAP:
		if (arguments[0] == except)
			return false;
		if (arguments[3] & ABI_MREMAP_FIXED &&
		    span_overlaps(span_make(arguments[4], arguments[2]), place))
			return true;
		break;
	case ABI_CALL_MUNMAP:
	case ABI_CALL_MMAP:
		break;
	case ABI_CALL_BRK: /* where it was is not told */
	case ABI_CALL_SHMDT:
		return true;
	default:
		return false;
	}
	return span_overlaps(span_make(arguments[0], ALIGN_UP(arguments[1], PAGE_BYTES)), place);
}

int linux_unmap_in_flight(struct sys *sys, struct span place, uint64_t except, bool *found)
{
	struct linux_number_dir dir;
	char directory[64];
	char text[SYSCALL_TEXT];
	uint32_t thread_id;
	int err = linux_tasks_open(linux_of(sys), &dir);

	*found = false;
	while (!err && !*found && (err = linux_number_dir_next(&dir, &thread_id)) > 0) {
		err = 0;
		if (!linux_thread_is_ours(linux_of(sys), thread_id) &&
		    read_syscall(thread_id, directory, text) > 0 && text[0] >= '0' &&
		    text[0] <= '9')
			*found = takes_away(text, place, except);
	}
	linux_tasks_close(linux_of(sys), &dir);
	return err;
}

/* A worker of io_uring has no user mode: what it touches, the kernel touches. */
int linux_thread_in_call(struct sys *sys UNUSED, uint32_t thread_id, bool *in_call)
{
	char directory[64];
	char text[SYSCALL_TEXT];
	int64_t got = read_syscall(thread_id, directory, text);

	if (got <= 0)
		return got ? (int)got : -ESRCH;
	if (text[0] != '-' && (text[0] < '0' || text[0] > '9'))
		return -EAGAIN; /* "running" */
	*in_call = text[0] != '-' || is_io_worker(directory);
	return 0;
}
