/* SPDX-License-Identifier: MIT */
/*
 * DOC: memory that processes have in common
 *
 * The word of a life is a robust futex: it has the thread's number, and is on a list that
 * the thread has told the kernel. When the thread ends, by exit, a signal or exec, the kernel
 * marks it. (A lock of a file, which the kernel takes back as well, would last as long as
 * usvm-keeper, which shares the descriptors; and so as long as any child that inherits one.)
 *
 * The C library's own list of such words, for mutexes of programs, is replaced: a thread of
 * the library takes no mutex of a program.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <time.h>

#include "base/atomic.h"
#include "base/host.h"
#include "sys/common.h"
#include "sys/linux_syscall.h"

/* Where programs have nothing, if that is free. */
#define COMMON_HINT 0x7eb000000000ull

/* Nobody waits for a life as for a lock, so this bit is free. */
#define CLAIMED FUTEX_WAITERS

static int map(int64_t fd, uint64_t bytes, void **memory)
{
	int64_t got = linux_call(SYS_mmap, COMMON_HINT, bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
				 fd, 0);
	int err;

	if (got < 0 && got >= -4095)
		return (int)got;
	err = (int)linux_call(SYS_madvise, got, bytes, MADV_DONTFORK);
	if (!err)
		err = (int)linux_call(SYS_madvise, got, bytes, MADV_DONTDUMP);
	if (err)
		linux_call(SYS_munmap, got, bytes);
	*memory = (void *)(uintptr_t)got;
	return err;
}

int sys_common_map(const char *path, uint64_t bytes, void **memory)
{
	int64_t fd = linux_call(SYS_open, path, O_RDWR | O_CLOEXEC, 0);
	int64_t end;
	int err = 0;

	if (fd < 0)
		return (int)fd;
	end = linux_call(SYS_lseek, fd, 0, SEEK_END);
	if (end < 0 || (uint64_t)end < bytes)
		err = (int)linux_call(SYS_ftruncate, fd, bytes);
	if (!err)
		err = map(fd, bytes, memory);
	linux_call(SYS_close, fd);
	return err;
}

void sys_common_unmap(void *memory, uint64_t bytes)
{
	linux_call(SYS_munmap, memory, bytes);
}

bool sys_life_claim(struct sys_life *life, uint32_t *word)
{
	uint32_t id = (uint32_t)linux_call(SYS_gettid);
	uint32_t before = ATOMIC_LOAD(word);

	life->word = word;
	life->head.list.next = &life->head.list;
	life->head.list_op_pending = &life->entry;
	life->head.futex_offset = (long)((uintptr_t)word - (uintptr_t)&life->entry);
	/* The list is empty; what is pending counts from the moment that the word names us. */
	linux_call(SYS_set_robust_list, &life->head, sizeof(life->head));
	do {
		if (before && !(before & FUTEX_OWNER_DIED))
			return false;
	} while (!ATOMIC_COMPARE_EXCHANGE(word, &before, id | CLAIMED));
	return true;
}

void sys_life_begin(struct sys_life *life)
{
	ATOMIC_STORE(life->word, (uint32_t)linux_call(SYS_gettid));
}

void sys_life_end(struct sys_life *life)
{
	ATOMIC_STORE(life->word, 0u);
	linux_call(SYS_set_robust_list, NULL, sizeof(life->head));
}

bool sys_life_is_on(const uint32_t *word)
{
	uint32_t now = ATOMIC_LOAD(word);

	return now && !(now & (FUTEX_OWNER_DIED | CLAIMED));
}

/* Not FUTEX_PRIVATE_FLAG: the word is of several processes. */
int sys_common_sleep(uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
	struct timespec timeout = {
		.tv_sec = (time_t)(timeout_ns / 1000000000),
		.tv_nsec = (long)(timeout_ns % 1000000000),
	};
	int64_t err = linux_call(SYS_futex, word, FUTEX_WAIT, expected,
				 timeout_ns == BASE_FOREVER ? NULL : &timeout);

	return err == -ETIMEDOUT ? -ETIMEDOUT : 0;
}

void sys_common_wake(uint32_t *word)
{
	linux_call(SYS_futex, word, FUTEX_WAKE, INT_MAX);
}
