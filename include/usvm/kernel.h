/* SPDX-License-Identifier: MIT */
/*
 * usvm/kernel.h - what device code is written with: C functions over a grid,
 * and accessors that go through the model GPU's MMU.
 *
 *     static void saxpy(struct usvm_lane *lane, const void *args)
 *     {
 *             const struct saxpy *a = args;
 *             uint64_t i = usvm_group_id(lane, 0);
 *             float x, y;
 *
 *             usvm_read(lane, &x, (uintptr_t)(a->x + i), sizeof(x));
 *             usvm_read(lane, &y, (uintptr_t)(a->y + i), sizeof(y));
 *             y += a->a * x;
 *             usvm_write(lane, (uintptr_t)(a->y + i), &y, sizeof(y));
 *     }
 *
 * A kernel reaches the program's memory only through the accessors: a plain
 * dereference would bypass the GPU. It calls nothing that locks, allocates or
 * prints, and owns nothing: an access that the process forbids leaves the
 * kernel there and then (it does not return), and the job ends with -EFAULT. A
 * job whose queue is destroyed ends the same way, with -ECANCELED, at its next
 * access or group. A kernel that loops without an access cannot be ended.
 *
 * An access that hits the TLB and lies in device memory is inline: no lock, no
 * call. Everything else is one call into the GPU: a TLB refill, a system page,
 * an access that is not naturally aligned, a fault.
 *
 * Accesses of 1, 2, 4 and 8 bytes that are naturally aligned are single-copy
 * atomic; loads acquire and stores release. Atomics are sequentially consistent
 * with each other and with the CPU's; their address must be naturally aligned
 * (else the job ends with -EINVAL). A bulk read or write is a sequence of parts
 * of at most 4096 bytes.
 */
#ifndef USVM_KERNEL_H
#define USVM_KERNEL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <usvm/device.h>

#ifdef __cplusplus
extern "C" {
#endif

#if !defined(USVM_API)
#define USVM_API __attribute__((visibility("default")))
#endif

#define USVM_TLB_ENTRIES 1024 /* direct-mapped, 4 KiB each */
#define USVM_TLB_PAGE_BYTES 4096
#define USVM_TLB_INVALID UINT64_MAX

/* A page of device memory that this lane may use. Tags are the page's address, or
 * USVM_TLB_INVALID where the access is not allowed. */
struct usvm_tlb_entry {
	uint64_t read_tag;
	uint64_t write_tag;
	uint64_t atomic_tag;
	uint64_t delta; /* host address = shared address + delta */
};

/** struct usvm_lane - one engine's view of one vm while it runs a kernel; the fields are
 * the accessors' own */
struct usvm_lane {
	struct usvm_section section;
	const struct usvm_stop *stop; /* atomic */
	uint32_t group_id[3];
	uint32_t group_count[3];
	uintptr_t stack_start; /* memory of the engine's own: never on a device */
	size_t stack_bytes;
	struct usvm_tlb_entry tlb[USVM_TLB_ENTRIES];
};

typedef void (*usvm_kernel_fn)(struct usvm_lane *lane, const void *args);

static inline uint32_t usvm_group_id(const struct usvm_lane *lane, unsigned int dim)
{
	return lane->group_id[dim];
}

static inline uint32_t usvm_group_count(const struct usvm_lane *lane, unsigned int dim)
{
	return lane->group_count[dim];
}

/* --- out of line -------------------------------------------------------------- */

/** usvm_lane_load() - 1, 2, 4 or 8 bytes, any alignment */
USVM_API uint64_t usvm_lane_load(struct usvm_lane *lane, uint64_t addr, uint32_t bytes);
USVM_API void usvm_lane_store(struct usvm_lane *lane, uint64_t addr, uint64_t value,
			      uint32_t bytes);

/** usvm_lane_atomic() - @op: USVM_SYSTEM_ADD to USVM_SYSTEM_SIGNED_MAX; 4 or 8 bytes.
 * Return: the value before. */
USVM_API uint64_t usvm_lane_atomic(struct usvm_lane *lane, uint32_t op, uint64_t addr,
				   uint32_t bytes, uint64_t operand, uint64_t compare);
USVM_API void usvm_lane_read(struct usvm_lane *lane, void *dst, uint64_t addr,
			     size_t bytes);
USVM_API void usvm_lane_write(struct usvm_lane *lane, uint64_t addr, const void *src,
			      size_t bytes);

/* --- the inline path ----------------------------------------------------------- */

/* Program memory has any type. */
typedef uint8_t __attribute__((may_alias)) usvm_word8;
typedef uint16_t __attribute__((may_alias)) usvm_word16;
typedef uint32_t __attribute__((may_alias)) usvm_word32;
typedef uint64_t __attribute__((may_alias)) usvm_word64;

/*
 * What a tag is compared with: the address without its place in the page, but with
 * the bits that natural alignment wants to be 0. One comparison tells that the page
 * is the right one, that the access is allowed, and that it is aligned.
 */
#define USVM_TLB_TAG(addr, bytes) \
	((addr) & ~(uint64_t)((USVM_TLB_PAGE_BYTES - 1) & ~((bytes) - 1)))

static inline struct usvm_tlb_entry *usvm_tlb_slot(struct usvm_lane *lane, uint64_t addr)
{
	return &lane->tlb[addr / USVM_TLB_PAGE_BYTES % USVM_TLB_ENTRIES];
}

/* The stop word is the device's, or one that is always raised: the lane is to leave. */
static inline bool usvm_lane_enter(struct usvm_lane *lane)
{
	return usvm_section_try_enter(&lane->section,
				      __atomic_load_n(&lane->stop, __ATOMIC_RELAXED));
}

#define USVM_DEFINE_LOAD_STORE(bits)                                                     \
	static inline uint##bits##_t usvm_load##bits(struct usvm_lane *lane,             \
						     uint64_t addr)                      \
	{                                                                                \
		if (__builtin_expect(usvm_lane_enter(lane), 1)) {                        \
			const struct usvm_tlb_entry *e = usvm_tlb_slot(lane, addr);      \
                                                                                         \
			if (__builtin_expect(e->read_tag ==                              \
					     USVM_TLB_TAG(addr, bits / 8), 1)) {         \
				uint##bits##_t value = __atomic_load_n(                  \
					(const usvm_word##bits *)(uintptr_t)(addr +      \
									     e->delta),  \
					__ATOMIC_ACQUIRE);                               \
				usvm_section_leave(&lane->section);                      \
				return value;                                            \
			}                                                                \
			usvm_section_leave(&lane->section);                              \
		}                                                                        \
		return (uint##bits##_t)usvm_lane_load(lane, addr, bits / 8);             \
	}                                                                                \
                                                                                         \
	static inline void usvm_store##bits(struct usvm_lane *lane, uint64_t addr,       \
					    uint##bits##_t value)                        \
	{                                                                                \
		if (__builtin_expect(usvm_lane_enter(lane), 1)) {                        \
			const struct usvm_tlb_entry *e = usvm_tlb_slot(lane, addr);      \
                                                                                         \
			if (__builtin_expect(e->write_tag ==                             \
					     USVM_TLB_TAG(addr, bits / 8), 1)) {         \
				__atomic_store_n(                                        \
					(usvm_word##bits *)(uintptr_t)(addr + e->delta), \
					value, __ATOMIC_RELEASE);                        \
				usvm_section_leave(&lane->section);                      \
				return;                                                  \
			}                                                                \
			usvm_section_leave(&lane->section);                              \
		}                                                                        \
		usvm_lane_store(lane, addr, value, bits / 8);                            \
	}

USVM_DEFINE_LOAD_STORE(8)
USVM_DEFINE_LOAD_STORE(16)
USVM_DEFINE_LOAD_STORE(32)
USVM_DEFINE_LOAD_STORE(64)

/* usvm_atomic_add32() and its like: return the value before. */
#define USVM_DEFINE_ATOMIC(name, bits, builtin, op)                                      \
	static inline uint##bits##_t usvm_atomic_##name##bits(                           \
		struct usvm_lane *lane, uint64_t addr, uint##bits##_t operand)           \
	{                                                                                \
		if (__builtin_expect(usvm_lane_enter(lane), 1)) {                        \
			const struct usvm_tlb_entry *e = usvm_tlb_slot(lane, addr);      \
                                                                                         \
			if (__builtin_expect(e->atomic_tag ==                            \
					     USVM_TLB_TAG(addr, bits / 8), 1)) {         \
				uint##bits##_t old = builtin(                            \
					(usvm_word##bits *)(uintptr_t)(addr + e->delta), \
					operand, __ATOMIC_SEQ_CST);                      \
				usvm_section_leave(&lane->section);                      \
				return old;                                              \
			}                                                                \
			usvm_section_leave(&lane->section);                              \
		}                                                                        \
		return (uint##bits##_t)usvm_lane_atomic(lane, op, addr, bits / 8,        \
							operand, 0);                     \
	}

/* Without an instruction of their own these are always out of line. */
#define USVM_DEFINE_MIN_MAX(name, bits, op)                                              \
	static inline uint##bits##_t usvm_atomic_##name##bits(                           \
		struct usvm_lane *lane, uint64_t addr, uint##bits##_t operand)           \
	{                                                                                \
		return (uint##bits##_t)usvm_lane_atomic(lane, op, addr, bits / 8,        \
							operand, 0);                     \
	}

/* usvm_atomic_compare_exchange32(lane, addr, expected, desired): returns the value
 * before; it was exchanged if that is @expected. */
#define USVM_DEFINE_COMPARE_EXCHANGE(bits)                                               \
	static inline uint##bits##_t usvm_atomic_compare_exchange##bits(                 \
		struct usvm_lane *lane, uint64_t addr, uint##bits##_t expected,          \
		uint##bits##_t desired)                                                  \
	{                                                                                \
		if (__builtin_expect(usvm_lane_enter(lane), 1)) {                        \
			const struct usvm_tlb_entry *e = usvm_tlb_slot(lane, addr);      \
                                                                                         \
			if (__builtin_expect(e->atomic_tag ==                            \
					     USVM_TLB_TAG(addr, bits / 8), 1)) {         \
				uint##bits##_t old = expected;                           \
                                                                                         \
				__atomic_compare_exchange_n(                             \
					(usvm_word##bits *)(uintptr_t)(addr + e->delta), \
					&old, desired, false, __ATOMIC_SEQ_CST,          \
					__ATOMIC_SEQ_CST);                               \
				usvm_section_leave(&lane->section);                      \
				return old;                                              \
			}                                                                \
			usvm_section_leave(&lane->section);                              \
		}                                                                        \
		return (uint##bits##_t)usvm_lane_atomic(                                 \
			lane, USVM_SYSTEM_COMPARE_EXCHANGE, addr, bits / 8, desired,     \
			expected);                                                       \
	}

#define USVM_DEFINE_ATOMICS(bits)                                                        \
	USVM_DEFINE_ATOMIC(add, bits, __atomic_fetch_add, USVM_SYSTEM_ADD)               \
	USVM_DEFINE_ATOMIC(sub, bits, __atomic_fetch_sub, USVM_SYSTEM_SUB)               \
	USVM_DEFINE_ATOMIC(and, bits, __atomic_fetch_and, USVM_SYSTEM_AND)               \
	USVM_DEFINE_ATOMIC(or, bits, __atomic_fetch_or, USVM_SYSTEM_OR)                  \
	USVM_DEFINE_ATOMIC(xor, bits, __atomic_fetch_xor, USVM_SYSTEM_XOR)               \
	USVM_DEFINE_ATOMIC(exchange, bits, __atomic_exchange_n, USVM_SYSTEM_EXCHANGE)    \
	USVM_DEFINE_MIN_MAX(min, bits, USVM_SYSTEM_MIN)                                  \
	USVM_DEFINE_MIN_MAX(max, bits, USVM_SYSTEM_MAX)                                  \
	USVM_DEFINE_MIN_MAX(signed_min, bits, USVM_SYSTEM_SIGNED_MIN)                    \
	USVM_DEFINE_MIN_MAX(signed_max, bits, USVM_SYSTEM_SIGNED_MAX)                    \
	USVM_DEFINE_COMPARE_EXCHANGE(bits)

USVM_DEFINE_ATOMICS(32)
USVM_DEFINE_ATOMICS(64)

#undef USVM_DEFINE_LOAD_STORE
#undef USVM_DEFINE_ATOMIC
#undef USVM_DEFINE_MIN_MAX
#undef USVM_DEFINE_COMPARE_EXCHANGE
#undef USVM_DEFINE_ATOMICS

static inline bool usvm_is_in_one_page(uint64_t addr, size_t bytes)
{
	return bytes <= USVM_TLB_PAGE_BYTES - addr % USVM_TLB_PAGE_BYTES;
}

/* A copy inside of a section must not wait for a page: only the engine's stack is sure. */
static inline int usvm_is_own(const struct usvm_lane *lane, const void *memory, size_t bytes)
{
	size_t offset = (uintptr_t)memory - lane->stack_start;

	return offset < lane->stack_bytes && bytes <= lane->stack_bytes - offset;
}

/* Where a compiler does not know that @dst is aligned, it stores the first and the last word
 * apart, so that what is in between begins in the midst of a line of the cache. */
static inline void usvm_copy(void *dst, const void *src, size_t bytes)
{
	if (bytes >= 256 && (uintptr_t)dst % 8 == 0)
		memcpy(__builtin_assume_aligned(dst, 8), src, bytes);
	else
		memcpy(dst, src, bytes);
}

/** usvm_read() - copy @bytes of the program's memory to @dst, which is the kernel's own */
static inline void usvm_read(struct usvm_lane *lane, void *dst, uint64_t addr,
			     size_t bytes)
{
	if (usvm_is_in_one_page(addr, bytes) && usvm_is_own(lane, dst, bytes) &&
	    usvm_lane_enter(lane)) {
		const struct usvm_tlb_entry *e = usvm_tlb_slot(lane, addr);

		if (__builtin_expect(e->read_tag == USVM_TLB_TAG(addr, 1), 1)) {
			usvm_copy(dst, (const void *)(uintptr_t)(addr + e->delta), bytes);
			usvm_section_leave(&lane->section);
			return;
		}
		usvm_section_leave(&lane->section);
	}
	usvm_lane_read(lane, dst, addr, bytes);
}

/** usvm_write() - copy @bytes of @src to the program's memory. Fast where @src is a
 * variable of the kernel; where it is the program's too, it is read as the CPU would. */
static inline void usvm_write(struct usvm_lane *lane, uint64_t addr, const void *src,
			      size_t bytes)
{
	if (usvm_is_in_one_page(addr, bytes) && usvm_is_own(lane, src, bytes) &&
	    usvm_lane_enter(lane)) {
		const struct usvm_tlb_entry *e = usvm_tlb_slot(lane, addr);

		if (__builtin_expect(e->write_tag == USVM_TLB_TAG(addr, 1), 1)) {
			usvm_copy((void *)(uintptr_t)(addr + e->delta), src, bytes);
			usvm_section_leave(&lane->section);
			return;
		}
		usvm_section_leave(&lane->section);
	}
	usvm_lane_write(lane, addr, src, bytes);
}

static inline float usvm_load_float(struct usvm_lane *lane, uint64_t addr)
{
	uint32_t word = usvm_load32(lane, addr);
	float value;

	memcpy(&value, &word, sizeof(value));
	return value;
}

static inline void usvm_store_float(struct usvm_lane *lane, uint64_t addr, float value)
{
	uint32_t word;

	memcpy(&word, &value, sizeof(word));
	usvm_store32(lane, addr, word);
}

static inline double usvm_load_double(struct usvm_lane *lane, uint64_t addr)
{
	uint64_t word = usvm_load64(lane, addr);
	double value;

	memcpy(&value, &word, sizeof(value));
	return value;
}

static inline void usvm_store_double(struct usvm_lane *lane, uint64_t addr, double value)
{
	uint64_t word;

	memcpy(&word, &value, sizeof(word));
	usvm_store64(lane, addr, word);
}

#ifdef __cplusplus
}
#endif

#endif
