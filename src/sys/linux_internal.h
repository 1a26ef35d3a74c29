/* SPDX-License-Identifier: MIT */
/*
 * sys/linux_internal.h - what the files of the real kernel's table share.
 *
 * State that has to be one per process (signal handlers, the library's pages,
 * the count of users) is static in the file that owns it or in struct
 * linux_sys; there is one, however many users there are. A child of fork finds
 * it stale and starts over (linux_fork.c).
 */
#ifndef SYS_LINUX_INTERNAL_H
#define SYS_LINUX_INTERNAL_H

#include <pthread.h>
#include <signal.h>

#include "base/atomic.h"
#include "base/host.h"
#include "base/lock.h"
#include "sys/sys.h"

#if defined(__has_feature)
#define LINUX_HAS_FEATURE(x) __has_feature(x)
#else
#define LINUX_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
	LINUX_HAS_FEATURE(address_sanitizer) ||                       \
	LINUX_HAS_FEATURE(thread_sanitizer)
#define LINUX_SANITIZED 1
#else
#define LINUX_SANITIZED 0
#endif

/* Descriptors of a private file table; -1 each on a thread that has none. */
struct linux_files {
	int maps;
	int pagemap;
	int tasks; /* /proc/self/task; read under linux_sys.tasks_lock */
	int kick;  /* an eventfd */
	int alarm; /* a timerfd; of the thread that calls uffd_wait() */
	int smaps; /* a keeper's, which may open nothing */
};

/* Everything the library keeps for one thread. Initial-exec: finding it never
 * allocates, and it lies beside the stack, which never migrates. */
struct linux_tls {
	struct base_thread base;
	struct linux_files files;
	bool private_files;   /* files are those of a private table */
	uint32_t thread_id;   /* of a thread of the library; 0: not known */
	uint64_t alarm_ns;    /* when files.alarm is due; 0: it is not set */
	uint32_t kicked;      /* set by a kick outside guarded code */
	const struct sys_fork_hooks *fork_hooks; /* that fork() of this thread began with */
	pthread_mutex_t *fork_lock; /* taken with them; NULL: none was free */
	const void *chain_context; /* signal handlers: see linux_signal.c */
	uint32_t chain_behind;
};

extern _Thread_local struct linux_tls linux_tls
	__attribute__((tls_model("initial-exec")));

#define LINUX_THREAD_COUNT_MAX 256
#define LINUX_SEGMENT_COUNT_MAX 24
#define LINUX_HUGE_DEVICE_COUNT_MAX 8

struct linux_sys {
	struct sys sys; /* first */
	uint32_t user_count; /* under the open lock */
	bool scan_tells_guards;

	/* Set at the first open, then constant. */
	struct span segments[LINUX_SEGMENT_COUNT_MAX]; /* never to migrate */
	size_t segment_count;
	uint64_t first_tls_bytes; /* of the thread that the process began with */
	uint64_t huge_devices[LINUX_HUGE_DEVICE_COUNT_MAX]; /* hugetlbfs mounts */
	size_t huge_device_count;
	uint64_t stack_addr; /* in [stack]: the kernel put random bytes there */

	struct lock tasks_lock; /* of the place in linux_files.tasks, which threads share */
	struct lock maps_lock;  /* of that in linux_files.maps */

	/* Kernel ids of the library's threads, 0: free. atomic */
	uint32_t thread_ids[LINUX_THREAD_COUNT_MAX];
};

extern struct linux_sys linux_sys;
void linux_forget(void); /* linux.c; in a child of fork: never opened */
extern const struct base_host_ops linux_host_ops;

/* linux_probe.c */
void linux_probe_features(struct linux_sys *sys, uint32_t masked);
void linux_probe_limits(struct sys_limits *limits);
/* Open a userfaultfd and say hello with what @features has of it. */
int linux_uffd_open_with(uint32_t features, int *uffd);

/* linux_files.c: descriptors, small files, numbers in them */
int linux_open(const char *path, int flags); /* O_CLOEXEC is added */
void linux_close(int fd);
/* All of a small file, with a final zero. Return: bytes, or -errno. */
int64_t linux_read_file(const char *path, char *text, size_t max);
/* A decimal (base 10) or hexadecimal (16) number; *@text moves behind it. */
uint64_t linux_take_number(const char **text, uint32_t base);
/* Give the calling thread an empty file table and open its own descriptors. */
int linux_files_become_private(void);
/* @own if the thread has a private table, else a descriptor for this call. */
int linux_files_borrow(int own, const char *path, int *fd);
void linux_files_return(int own, int fd);

/* The names in a directory, numbers only (/proc/self/task and the like). */
struct linux_number_dir {
	int fd;
	size_t next;
	size_t used;
	_Alignas(8) char buffer[8192];
};
int linux_number_dir_open(struct linux_number_dir *dir, const char *path);
/* Return: 1 and *@number, 0 at the end, -errno. */
int linux_number_dir_next(struct linux_number_dir *dir, uint32_t *number);
void linux_number_dir_close(struct linux_number_dir *dir);

/* The threads of the process. A thread with a private table needs no descriptor for it:
 * the program may have set RLIMIT_NOFILE to what it uses. To be closed after an error too. */
int linux_tasks_open(struct linux_sys *sys, struct linux_number_dir *dir)
	ACQUIRES(&sys->tasks_lock);
void linux_tasks_close(struct linux_sys *sys, struct linux_number_dir *dir)
	RELEASES(&sys->tasks_lock);

/* linux_maps.c */
int linux_vma_query(struct sys *sys, uint64_t addr, bool or_next,
		    struct sys_vma *vma);
void linux_find_huge_devices(struct linux_sys *sys);

/* linux_pagemap.c */
int linux_page_scan(struct sys *sys, struct span span, struct sys_page_run *runs,
		    size_t max, size_t *count, uint64_t *end);

/* linux_exclude.c */
void linux_find_segments(struct linux_sys *sys);
int linux_exclusions(struct sys *sys, struct span *spans, size_t max,
		     size_t *count);
int linux_madvise_in_flight(struct sys *sys, bool *busy);
int linux_unmap_in_flight(struct sys *sys, struct span place, uint64_t except, bool *found);
int linux_thread_in_call(struct sys *sys, uint32_t thread_id, bool *in_call);
int linux_wiped_on_fork(struct sys *sys, struct span *spans, size_t max, size_t *count);

/* linux_pages.c */
int linux_pages_init(void); /* the first region, with the mark of this process */
void linux_pages_fini(void);
void linux_pages_forget(void); /* in a child of fork */
bool linux_pages_are_forked(void);
void *linux_pages_alloc(size_t bytes);
void linux_pages_free(void *pages, size_t bytes);
/* One span a region; as exclusions() counts. */
void linux_pages_spans(struct span *spans, size_t max, size_t *count);

/* linux_memory.c */
int linux_map(struct sys *sys, uint64_t bytes, uint64_t align, uint64_t hint,
	      uint64_t *addr);
void linux_unmap(struct sys *sys, uint64_t addr, uint64_t bytes);
/* What linux_map() gave out, as exclusions() counts. */
void linux_memory_spans(struct span *spans, size_t max, size_t *count);
void linux_memory_forget(void); /* in a child of fork, which has none of it */
/** linux_discard() - MADV_DONTNEED, of locked memory too */
int linux_discard(struct span span);
bool linux_is_mlocked(struct sys *sys, struct span span);
int linux_advise(struct sys *sys, struct span span, enum sys_advice advice);
int linux_empty(struct sys *sys, struct span span);
void *linux_pointer(struct sys *sys, uint64_t addr, uint64_t bytes);
/* Map @bytes at @hint or a little above it; 0 when there is no room. */
uint64_t linux_map_near(uint64_t hint, uint64_t bytes, uint64_t align, int prot);

/* linux_shared.c */
int linux_shared_map(struct sys *sys, uint64_t bytes, uint64_t align, uint64_t *addr,
		     int *file);
void linux_shared_unmap(struct sys *sys, uint64_t addr, uint64_t bytes, int file);
void linux_shared_discard(struct sys *sys, uint64_t addr, uint64_t bytes, int file);
int linux_shared_show(struct sys *sys, struct span part, uint64_t at, uint32_t prot,
		      uint64_t *addr);

/* linux_uffd.c */
int linux_uffd_open(struct sys *sys, int *uffd);
void linux_uffd_close(struct sys *sys, int uffd);
int linux_uffd_register(struct sys *sys, int uffd, struct span span,
			uint32_t mode);
int linux_uffd_unregister(struct sys *sys, int uffd, struct span span);
int linux_uffd_move(struct sys *sys, int uffd, uint64_t dst, uint64_t src,
		    uint64_t bytes, uint32_t flags, uint64_t *moved);
int linux_uffd_copy(struct sys *sys, int uffd, uint64_t dst, uint64_t src,
		    uint64_t bytes, uint64_t *copied);
int linux_uffd_zeropage(struct sys *sys, int uffd, struct span span,
			uint64_t *done);
int linux_uffd_wake(struct sys *sys, int uffd, struct span span);
int linux_uffd_poison(struct sys *sys, int uffd, struct span span);
int linux_uffd_writeprotect(struct sys *sys, int uffd, struct span span,
			    bool on);
int linux_uffd_read(struct sys *sys, int uffd, struct sys_event *event);
int linux_uffd_salvage(struct sys *sys, struct sys_event *event);
int linux_uffd_wait(struct sys *sys, int uffd, uint64_t timeout_ns);
void linux_uffd_kick(struct sys *sys);

/* linux_access.c */
int linux_access(struct sys *sys, enum sys_access_op op, uint64_t addr,
		 void *buffer, uint32_t bytes);

/* linux_signal.c */
int linux_check_signal_handlers(struct sys *sys);
void linux_signal_restore(void);
void linux_signal_forget(void); /* in a child of fork */

/* linux_thread.c */
int linux_thread_create(struct sys *sys, const struct sys_thread_attr *attr,
			struct sys_thread **thread);
void linux_thread_join(struct sys *sys, struct sys_thread *thread);
uint32_t linux_thread_id(struct sys *sys);
void linux_thread_kick(struct sys *sys, uint32_t thread_id);
uint64_t linux_clock_ns(struct sys *sys);
void linux_barrier(struct sys *sys);
int linux_park(uint32_t *word, uint32_t expected, uint64_t timeout_ns);
void linux_unpark(uint32_t *word, uint32_t count);
/*
 * A monitor makes and joins its workers and its keeper while nothing is registered, so
 * that no thread can wait for it yet, or any more. It may wait then: it is not a
 * monitor for as long as that takes. Return: was it one, for linux_monitor_resume().
 */
bool linux_monitor_suspend(void);
void linux_monitor_resume(bool is_monitor);
bool linux_thread_is_ours(const struct linux_sys *sys, uint32_t thread_id);

/* linux_keeper.c */
int linux_keeper_start(struct sys *sys, void (*run)(void *arg), void *arg,
		       struct sys_keeper **keeper);
void linux_keeper_stop(struct sys *sys, struct sys_keeper *keeper);

/* linux_fork.c */
int linux_fork_init(struct sys *sys);
void linux_fork_forget(void); /* in a child of fork */
int linux_fork_hooks(struct sys *sys, const struct sys_fork_hooks *hooks);
void linux_fork_fini(void);
bool linux_is_forked(struct sys *sys);

static inline struct linux_sys *linux_of(struct sys *sys)
{
	return CONTAINER_OF(sys, struct linux_sys, sys);
}

#endif
