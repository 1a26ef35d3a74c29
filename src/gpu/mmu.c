/* SPDX-License-Identifier: MIT */
/*
 * DOC: one access of an engine
 *
 *     [enter section]
 *       TLB, else walk the page table      stop raised: wait, enter again
 *       VRAM, or memory of usvm's, and allowed: fill the TLB, access, leave: done
 *       nothing behind it (NULL) and allowed: zeros, leave: done
 *     [leave section]
 *       system page and allowed: host->access()
 *                                0: done; -EINTR: again; -EFAULT: fault
 *       else: host->fault(), sleep until fault_done(): again
 *
 * No stale translation. An engine's TLB has pages of device memory and of usvm's
 * (USVM_PTE_HOST) only, and the engine writes it inside sections only, out of a walk of
 * the same section. Below, device memory stands for both. Call
 * "quiet" the time from the return of wait_stopped() to resume(), or from a stop()
 * that returned false. In it no engine is in a section and none enters:
 *
 *   - an engine that was active: it stores inside, then loads raised; the stopper
 *     stores raised, passes the barrier that host raises on every processor, then
 *     loads inside. One of the two sees the other's store (Dekker); the barrier
 *     stands for the fence that the engine does not execute.
 *   - an engine that was not: it stores active, a full fence, then loads raised in
 *     its first section; stop() stores raised, a full fence, then loads active.
 *     One of the two sees the other. If stop() reads 0, the engine finds raised
 *     set in every section that it tries until resume().
 *
 * So in a quiet time pt_clear() and then tlb_flush() may write tags of any engine
 * without a lock, and an engine that enters a section after resume() finds neither
 * a tag nor an entry of what was cleared. Several flushers may be at work in one
 * quiet time: tags are stored atomically, and all store the same value. What
 * pt_clear() removes while engines run is system pages, by the contract of
 * usvm/device.h. No TLB ever has those and each access looks them up again, so that
 * a flush has nothing to do: where stop is not raised it does nothing. An engine
 * may hold such an entry for the moment between look-up and host->access(); the
 * access is then one that the CPU could have made at the same address.
 *
 * A flush compares tags of every engine whose TLB belongs to the vm, idle ones too:
 * a TLB outlives its job. It is tagged with the vm's serial, which is never used
 * again, so a new vm with an old number finds no entry of its predecessor.
 *
 * Ending a job. lane.stop is pointed at a stop word that is raised for ever: each
 * inline access then comes here, and mmu_access() sees the pointer. Rejected: a
 * flush of the lane's TLB under a stop of our own. It needs a barrier, and a refill
 * could slip in behind it.
 */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/plant.h"
#include "gpu/gpu_internal.h"

/* How often one access may fault where the page was mapped and the process still
 * forbids it (a mapping that changes under us is retried, a forbidden one is not). */
#define MMU_FORBIDDEN_MAX 16
/* How often one access may fault or be thrown back at all before the job is failed: an
 * answer of 0 that does not help, about 10 us each. */
#define MMU_TRIES_MAX (1u << 20)

static bool is_atomic(uint32_t op)
{
	return op >= USVM_SYSTEM_ADD;
}

static uint32_t access_of(uint32_t op)
{
	if (op == USVM_SYSTEM_READ)
		return USVM_ACCESS_READ;
	return op == USVM_SYSTEM_WRITE ? USVM_ACCESS_WRITE : USVM_ACCESS_ATOMIC;
}

static void count(uint64_t *counter)
{
	ATOMIC_STORE_RELAXED(counter, *counter + 1);
}

/* --- sections and the TLB ------------------------------------------------------- */

static void enter_section(struct gpu_engine *engine)
{
	struct gpu *gpu = engine->gpu;

	while (unlikely(!usvm_section_try_enter(&engine->lane.section, &gpu->stop)) &&
	       !PLANTED(ENTER_BLIND)) {
		ATOMIC_ADD(&gpu->section_waiters, 1);
		gpu->host->section_wait(gpu->host->usvm, &gpu->stop);
		ATOMIC_SUB(&gpu->section_waiters, 1);
	}
}

static void leave_section(struct gpu_engine *engine)
{
	usvm_section_leave(&engine->lane.section);
}

static void tlb_drop(struct usvm_tlb_entry *entry)
{
	ATOMIC_STORE_RELAXED(&entry->read_tag, USVM_TLB_INVALID);
	ATOMIC_STORE_RELAXED(&entry->write_tag, USVM_TLB_INVALID);
	ATOMIC_STORE_RELAXED(&entry->atomic_tag, USVM_TLB_INVALID);
}

/* Of an entry that is used inside sections. */
static unsigned char *place_of(const struct gpu_engine *engine, const struct pte *pte)
{
	if (pte->flags & USVM_PTE_HOST)
		return (unsigned char *)(uintptr_t)pte->target;
	return engine->gpu->vram + pte->target;
}

static void tlb_fill(struct gpu_engine *engine, uint64_t addr, const struct pte *pte)
{
	struct usvm_tlb_entry *entry = usvm_tlb_slot(&engine->lane, addr);
	uint64_t page = ALIGN_DOWN(addr, PAGE_BYTES);
	bool write = pte->flags & USVM_PTE_WRITE;
	bool atomic = pte->flags & USVM_PTE_ATOMIC;

	entry->delta = (uintptr_t)place_of(engine, pte) - addr;
	ATOMIC_STORE_RELAXED(&entry->read_tag, page);
	ATOMIC_STORE_RELAXED(&entry->write_tag, write ? page : USVM_TLB_INVALID);
	ATOMIC_STORE_RELAXED(&entry->atomic_tag, atomic ? page : USVM_TLB_INVALID);
	count(&engine->tlb_refill_count);
}

void mmu_adopt_vm(struct gpu_engine *engine)
{
	enter_section(engine);
	if (engine->tlb_serial != engine->vm->serial) {
		for (unsigned int i = 0; i < USVM_TLB_ENTRIES; i++)
			tlb_drop(&engine->lane.tlb[i]);
		ATOMIC_STORE_RELAXED(&engine->tlb_serial, engine->vm->serial);
	}
	leave_section(engine);
}

void mmu_flush(struct gpu_engine *engine, const struct gpu_vm *vm, struct span span)
{
	if (ATOMIC_LOAD_RELAXED(&engine->tlb_serial) != vm->serial || PLANTED(TLB_UNFLUSHED))
		return;
	if (span_pages(span) >= USVM_TLB_ENTRIES) {
		for (unsigned int i = 0; i < USVM_TLB_ENTRIES; i++)
			tlb_drop(&engine->lane.tlb[i]);
		return;
	}
	for (uint64_t addr = span.start; addr < span.end; addr += PAGE_BYTES) {
		struct usvm_tlb_entry *entry = usvm_tlb_slot(&engine->lane, addr);

		/* A page that may be written or used in atomics may be read. */
		if (ATOMIC_LOAD_RELAXED(&entry->read_tag) == addr)
			tlb_drop(entry);
	}
}

/* --- device memory --------------------------------------------------------------- */

#define DEFINE_VRAM_ATOMIC(bits)                                                         \
	static uint64_t vram_atomic##bits(uint32_t op, usvm_word##bits *word,            \
					  uint##bits##_t operand,                        \
					  uint##bits##_t compare)                        \
	{                                                                                \
		uint##bits##_t old = __atomic_load_n(word, __ATOMIC_RELAXED);            \
		uint##bits##_t value;                                                    \
                                                                                         \
		do {                                                                     \
			if (op == USVM_SYSTEM_COMPARE_EXCHANGE)                          \
				value = old == compare ? operand : old;                  \
			else                                                             \
				value = (uint##bits##_t)atomic_result(                   \
					op, old, operand, (int##bits##_t)old,            \
					(int##bits##_t)operand);                         \
		} while (!__atomic_compare_exchange_n(                                   \
			word, &old, value, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));  \
		return old;                                                              \
	}

/* What @op makes of @old; the operands once more as numbers with a sign. */
static uint64_t atomic_result(uint32_t op, uint64_t old, uint64_t operand,
			      int64_t signed_old, int64_t signed_operand)
{
	switch (op) {
	case USVM_SYSTEM_ADD:
		return old + operand;
	case USVM_SYSTEM_SUB:
		return old - operand;
	case USVM_SYSTEM_AND:
		return old & operand;
	case USVM_SYSTEM_OR:
		return old | operand;
	case USVM_SYSTEM_XOR:
		return old ^ operand;
	case USVM_SYSTEM_EXCHANGE:
		return operand;
	case USVM_SYSTEM_MIN:
		return MIN(old, operand);
	case USVM_SYSTEM_MAX:
		return MAX(old, operand);
	case USVM_SYSTEM_SIGNED_MIN:
		return signed_old < signed_operand ? old : operand;
	case USVM_SYSTEM_SIGNED_MAX:
		return signed_old > signed_operand ? old : operand;
	default:
		ASSERT(!"an operation of host->access()");
		return old;
	}
}

DEFINE_VRAM_ATOMIC(32)
DEFINE_VRAM_ATOMIC(64)

#undef DEFINE_VRAM_ATOMIC

#define DEFINE_VRAM_MOVE(bits)                                                           \
	static void vram_move##bits(uint32_t op, void *memory, void *buffer)             \
	{                                                                                \
		usvm_word##bits *word = memory;                                          \
		uint##bits##_t value;                                                    \
                                                                                         \
		if (op == USVM_SYSTEM_READ) {                                            \
			value = __atomic_load_n(word, __ATOMIC_ACQUIRE);                 \
			memcpy(buffer, &value, sizeof(value));                           \
		} else {                                                                 \
			memcpy(&value, buffer, sizeof(value));                           \
			__atomic_store_n(word, value, __ATOMIC_RELEASE);                 \
		}                                                                        \
	}

DEFINE_VRAM_MOVE(16)
DEFINE_VRAM_MOVE(32)
DEFINE_VRAM_MOVE(64)

#undef DEFINE_VRAM_MOVE

static void vram_access(uint32_t op, unsigned char *memory, void *buffer, uint32_t bytes)
{
	uint64_t *operands = buffer;

	if (is_atomic(op) && bytes == 4)
		operands[0] = vram_atomic32(op, (usvm_word32 *)(void *)memory,
					    (uint32_t)operands[0], (uint32_t)operands[1]);
	else if (is_atomic(op))
		operands[0] = vram_atomic64(op, (usvm_word64 *)(void *)memory,
					    operands[0], operands[1]);
	else if (bytes == 8 && IS_ALIGNED((uintptr_t)memory, 8))
		vram_move64(op, memory, buffer);
	else if (bytes == 4 && IS_ALIGNED((uintptr_t)memory, 4))
		vram_move32(op, memory, buffer);
	else if (bytes == 2 && IS_ALIGNED((uintptr_t)memory, 2))
		vram_move16(op, memory, buffer);
	else if (op == USVM_SYSTEM_READ)
		memcpy(buffer, memory, bytes);
	else
		memcpy(memory, buffer, bytes);
}

/* --- faults ----------------------------------------------------------------------- */

static int fail(struct gpu_engine *engine, uint32_t op, uint64_t addr, int err)
{
	/* The process is closing, or the device went away: nobody is to blame. */
	if (err == -ENODEV || err == -ECANCELED)
		return err;
	engine->job->fault_addr = addr;
	engine->job->fault_access = access_of(op);
	return err;
}

/* Every fault was answered with 0, and the access cannot be done. */
static int give_up(struct gpu_engine *engine, uint32_t op, uint64_t addr, int err)
{
	const struct usvm_device_host *host = engine->gpu->host;

	host->report(host->usvm, engine->vm->id, addr, access_of(op), err);
	return fail(engine, op, addr, err);
}

/* Ask for the page and sleep until it is there, or never will be. */
static int raise_fault(struct gpu_engine *engine, uint32_t op, uint64_t addr)
{
	const struct usvm_device_host *host = engine->gpu->host;
	struct usvm_device_fault *fault = &engine->fault;
	int err;

	memset(fault, 0, sizeof(*fault));
	fault->vm = engine->vm->id;
	fault->access = access_of(op);
	fault->addr = addr;
	fault->token = engine;
	ATOMIC_STORE_RELAXED(&engine->fault_pending, 1);
	count(&engine->fault_count);

	/* Asleep, the engine is not active: whoever takes the pages for it need not stop
	 * it. The store at the end is the fence that the proof above asks for. */
	ATOMIC_STORE(&engine->active, 0);
	err = host->fault(host->usvm, fault);
	if (err)
		ATOMIC_STORE_RELAXED(&engine->fault_pending, 0);
	while (!err) {
		uint32_t ticket = wait_ticket(&engine->wait);

		if (!ATOMIC_LOAD_ACQUIRE(&engine->fault_pending)) {
			err = engine->fault_error;
			break;
		}
		wait_sleep(&engine->wait, ticket, BASE_FOREVER);
	}
	if (!PLANTED(STOP_SKIPS))
		ATOMIC_STORE(&engine->active, 1);
	return err ? fail(engine, op, addr, err) : 0;
}

/* --- the access --------------------------------------------------------------------- */

enum attempt {
	ATTEMPT_DONE,
	ATTEMPT_SYSTEM, /* *target: where host->access() goes */
	ATTEMPT_FAULT,
	ATTEMPT_LEAVE,
};

/* One section: the access itself, but of a system page; else what to do. */
static enum attempt try_access(struct gpu_engine *engine, uint32_t op, uint64_t addr,
			       void *buffer, uint32_t bytes, uint64_t *target)
{
	enum attempt attempt = ATTEMPT_FAULT;
	struct pte pte;

	enter_section(engine);
	if (unlikely(mmu_is_leaving(engine))) {
		leave_section(engine);
		return ATTEMPT_LEAVE;
	}
	pte = page_table_walk(&engine->vm->pt, addr);
	if (!pte.leaf_bytes ||
	    (op == USVM_SYSTEM_WRITE && !(pte.flags & USVM_PTE_WRITE)) ||
	    (is_atomic(op) && !(pte.flags & USVM_PTE_ATOMIC))) {
		attempt = ATTEMPT_FAULT;
	} else if (pte.flags & USVM_PTE_NULL) {
		if (op != USVM_SYSTEM_WRITE)
			memset(buffer, 0, op == USVM_SYSTEM_READ ? bytes : 8);
		attempt = ATTEMPT_DONE;
	} else if (pte.flags & (USVM_PTE_VRAM | USVM_PTE_HOST)) {
		if (PLANTED(LEAVE_EARLY)) {
			leave_section(engine);
			plant_yield();
		}
		tlb_fill(engine, addr, &pte);
		vram_access(op, place_of(engine, &pte), buffer, bytes);
		attempt = ATTEMPT_DONE;
	} else if (!is_atomic(op) || !engine->gpu->config.no_system_atomics) {
		*target = pte.target;
		attempt = ATTEMPT_SYSTEM;
	}
	leave_section(engine);
	return attempt;
}

/* Return: 0 done; -EINTR translate again; -EFAULT; else the job ends with it. */
static int system_access(struct gpu_engine *engine, uint32_t op, uint64_t target,
			 void *buffer, uint32_t bytes)
{
	const struct usvm_device_host *host = engine->gpu->host;

	count(&engine->system_access_count);
	if (PLANTED(SYSTEM_INSIDE))
		enter_section(engine);
	return host->access(host->usvm, op, target, buffer, bytes);
}

int mmu_access(struct gpu_engine *engine, uint32_t op, uint64_t addr, void *buffer,
	       uint32_t bytes)
{
	unsigned int forbidden = 0;

	for (uint32_t tries = 0; tries < MMU_TRIES_MAX; tries++) {
		uint64_t target = 0;
		int err = -EFAULT;

		switch (try_access(engine, op, addr, buffer, bytes, &target)) {
		case ATTEMPT_DONE:
			return 0;
		case ATTEMPT_LEAVE:
			return -ECANCELED;
		case ATTEMPT_SYSTEM:
			err = system_access(engine, op, target, buffer, bytes);
			if (!err)
				return 0;
			if (err == -EINTR)
				continue;
			if (err != -EFAULT || ++forbidden > MMU_FORBIDDEN_MAX)
				return give_up(engine, op, addr, err);
			break;
		case ATTEMPT_FAULT:
			break;
		}
		err = raise_fault(engine, op, addr);
		if (err)
			return err;
	}
	return give_up(engine, op, addr, -EFAULT);
}

int mmu_copy(struct gpu_engine *engine, uint32_t op, uint64_t addr, void *buffer,
	     size_t bytes)
{
	unsigned char *at = buffer;

	while (bytes) {
		uint32_t part = (uint32_t)MIN(bytes, PAGE_BYTES - addr % PAGE_BYTES);
		int err = mmu_access(engine, op, addr, at, part);

		if (err)
			return err;
		addr += part;
		at += part;
		bytes -= part;
	}
	return 0;
}
