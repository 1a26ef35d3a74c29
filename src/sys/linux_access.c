/* SPDX-License-Identifier: MIT */
/*
 * DOC: guarded access
 *
 * The only way a thread of the library touches the program's memory. A page
 * that is elsewhere is fetched as for any thread of the program: the access
 * faults and waits. One that does not exist is -EFAULT instead of a signal,
 * and a thread that waits can be kicked out (-EINTR) to look again where the
 * page is now. linux_guarded.S has the instructions, linux_signal.c the
 * handler.
 *
 * Reads and writes of 1, 2, 4 or 8 bytes at a multiple of their size are one
 * instruction and so never torn; others are byte by byte, in order. Atomics
 * without an instruction of their own are a guarded load and a guarded
 * compare-exchange until nobody was faster.
 */
#include <errno.h>
#include <string.h>

#include "sys/linux_guarded.h"
#include "sys/linux_internal.h"

static bool is_word(uint64_t addr, uint32_t bytes)
{
	return (bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8) &&
	       IS_ALIGNED(addr, bytes);
}

static guarded_function *const loads[] = {
	[1] = linux_guarded_load1,
	[2] = linux_guarded_load2,
	[4] = linux_guarded_load4,
	[8] = linux_guarded_load8,
};

static guarded_function *const stores[] = {
	[1] = linux_guarded_store1,
	[2] = linux_guarded_store2,
	[4] = linux_guarded_store4,
	[8] = linux_guarded_store8,
};

static int read_guarded(uint64_t addr, void *buffer, uint32_t bytes,
			const uint32_t *kicked)
{
	struct guarded_result result;

	if (!is_word(addr, bytes))
		return (int)linux_guarded_copy((uintptr_t)buffer, addr, bytes,
					       kicked)
			.error;
	result = loads[bytes](addr, 0, 0, kicked);
	if (!result.error)
		memcpy(buffer, &result.value, bytes);
	return (int)result.error;
}

static int write_guarded(uint64_t addr, const void *buffer, uint32_t bytes,
			 const uint32_t *kicked)
{
	uint64_t value = 0;

	if (!is_word(addr, bytes))
		return (int)linux_guarded_copy(addr, (uintptr_t)buffer, bytes,
					       kicked)
			.error;
	memcpy(&value, buffer, bytes);
	return (int)stores[bytes](addr, value, 0, kicked).error;
}

/* What @op leaves in a word of @bytes that holds @old. */
static uint64_t apply(enum sys_access_op op, uint64_t old, uint64_t operand,
		      uint32_t bytes)
{
	int64_t signed_old = bytes == 4 ? (int32_t)old : (int64_t)old;
	int64_t signed_operand = bytes == 4 ? (int32_t)operand :
					      (int64_t)operand;

	if (bytes == 4)
		operand = (uint32_t)operand;
	switch (op) {
	case SYS_ACCESS_AND:
		return old & operand;
	case SYS_ACCESS_OR:
		return old | operand;
	case SYS_ACCESS_XOR:
		return old ^ operand;
	case SYS_ACCESS_MIN:
		return MIN(old, operand);
	case SYS_ACCESS_MAX:
		return MAX(old, operand);
	case SYS_ACCESS_SIGNED_MIN:
		return signed_old < signed_operand ? old : operand;
	case SYS_ACCESS_SIGNED_MAX:
		return signed_old > signed_operand ? old : operand;
	default:
		return old;
	}
}

static struct guarded_result update(enum sys_access_op op, uint64_t addr,
				    uint64_t operand, uint32_t bytes,
				    const uint32_t *kicked)
{
	guarded_function *exchange = bytes == 4 ?
					     linux_guarded_compare_exchange4 :
					     linux_guarded_compare_exchange8;
	struct guarded_result result = loads[bytes](addr, 0, 0, kicked);
	uint64_t old;

	do {
		if (result.error)
			return result;
		old = result.value;
		result = exchange(addr, apply(op, old, operand, bytes), old,
				  kicked);
	} while (result.error || result.value != old);
	return result;
}

static struct guarded_result atomic_guarded(enum sys_access_op op,
					    uint64_t addr,
					    const uint64_t *operands,
					    uint32_t bytes,
					    const uint32_t *kicked)
{
	bool small = bytes == 4;

	switch (op) {
	case SYS_ACCESS_ADD:
		return (small ? linux_guarded_add4 : linux_guarded_add8)(
			addr, operands[0], 0, kicked);
	case SYS_ACCESS_SUB:
		return (small ? linux_guarded_add4 : linux_guarded_add8)(
			addr, 0 - operands[0], 0, kicked);
	case SYS_ACCESS_EXCHANGE:
		return (small ? linux_guarded_exchange4 :
				linux_guarded_exchange8)(addr, operands[0], 0,
							 kicked);
	case SYS_ACCESS_COMPARE_EXCHANGE:
		return (small ? linux_guarded_compare_exchange4 :
				linux_guarded_compare_exchange8)(
			addr, operands[0], operands[1], kicked);
	default:
		return update(op, addr, operands[0], bytes, kicked);
	}
}

int linux_access(struct sys *sys UNUSED, enum sys_access_op op, uint64_t addr,
		 void *buffer, uint32_t bytes)
{
	uint32_t *kicked = &linux_tls.kicked;
	struct guarded_result result;
	int err;

	lock_assert_none_held("guarded access");
	if (op == SYS_ACCESS_READ) {
		err = read_guarded(addr, buffer, bytes, kicked);
	} else if (op == SYS_ACCESS_WRITE) {
		err = write_guarded(addr, buffer, bytes, kicked);
	} else if ((bytes != 4 && bytes != 8) || !is_word(addr, bytes)) {
		err = -EINVAL;
	} else {
		result = atomic_guarded(op, addr, buffer, bytes, kicked);
		if (!result.error)
			memcpy(buffer, &result.value, sizeof(result.value));
		err = (int)result.error;
	}
	if (err == -EINTR)
		ATOMIC_STORE_RELAXED(kicked, 0);
	return err;
}
