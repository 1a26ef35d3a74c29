/* SPDX-License-Identifier: MIT */
/*
 * DOC: accesses to the program's memory
 *
 * By the CPU (a load, a store, an atomic), by the kernel for a system call, by a device
 * through pinned pages, and by the library's guarded accessor. All but the pins fault as
 * a CPU does and are one step from the moment in which the page is there.
 *
 * A pin holds the page, not the address. While the page is mapped what is done through
 * the pin is done to it, and without a mark: no WRITTEN, as a device leaves none (U-21).
 * When the page is zapped the pin keeps it, and nobody else has it.
 */
#include <errno.h>
#include <string.h>

#include "sys/sim_internal.h"

static void must_exist(const struct sim *sim, uint64_t addr, uint32_t bytes)
{
	if (addr % PAGE_BYTES + bytes > sim->config.frame_bytes)
		sim_misuse("an access beyond frame_bytes", __FILE__, __LINE__);
}

/* --- the CPU -------------------------------------------------------------- */

int sim_load(struct sim *sim, uint64_t addr, uint64_t *value)
{
	int err = SIM_ENTER(LOAD, addr);

	must_exist(sim, addr, sizeof(*value));
	if (!err)
		err = sim_fault_in(sim_caller(sim), addr, false);
	if (err)
		return sim_leave(err, 0);
	memcpy(value, sim_bytes(sim_caller(sim), addr), sizeof(*value));
	return sim_leave(0, *value);
}

int sim_store(struct sim *sim, uint64_t addr, uint64_t value)
{
	int err = SIM_ENTER(STORE, addr, value);

	must_exist(sim, addr, sizeof(value));
	if (!err)
		err = sim_fault_in(sim_caller(sim), addr, true);
	if (!err)
		memcpy(sim_bytes(sim_caller(sim), addr), &value, sizeof(value));
	return sim_leave(err, 0);
}

static int atomic(struct sim *sim, enum sys_access_op op, uint64_t addr, uint64_t value,
		  uint64_t expected, uint64_t *old)
{
	uint64_t arguments[2] = { value, expected };
	int err = SIM_ENTER(ATOMIC, addr, value, expected);

	must_exist(sim, addr, sizeof(value));
	if (!err)
		err = sim_fault_in(sim_caller(sim), addr, true);
	if (err)
		return sim_leave(err, 0);
	sim_access_bytes(op, sim_bytes(sim_caller(sim), addr), arguments, sizeof(value));
	*old = arguments[0];
	return sim_leave(0, *old);
}

int sim_fetch_add(struct sim *sim, uint64_t addr, uint64_t add, uint64_t *old)
{
	return atomic(sim, SYS_ACCESS_ADD, addr, add, 0, old);
}

int sim_exchange(struct sim *sim, uint64_t addr, uint64_t value, uint64_t *old)
{
	return atomic(sim, SYS_ACCESS_EXCHANGE, addr, value, 0, old);
}

int sim_compare_exchange(struct sim *sim, uint64_t addr, uint64_t expected, uint64_t value,
			 uint64_t *old)
{
	return atomic(sim, SYS_ACCESS_COMPARE_EXCHANGE, addr, value, expected, old);
}

/* --- the kernel ----------------------------------------------------------- */

/* A system call touches: with a userfaultfd of user mode only that is an error. */
static int kernel_fault_in(struct sim_process *process, uint64_t addr, bool write)
{
	uint32_t fault_flags;
	int err = sim_touch(process, addr, write, &fault_flags);

	if (err == -EAGAIN && sim_feature(process->sim, SYS_FEATURE_KERNEL_FAULTS))
		err = sim_fault_in(process, addr, write);
	return err ? -EFAULT : 0;
}

int sim_copy_in(struct sim *sim, uint64_t addr, void *buffer, uint32_t bytes)
{
	int err = SIM_ENTER(COPY_IN, addr, bytes);

	must_exist(sim, addr, bytes);
	if (!err)
		err = kernel_fault_in(sim_caller(sim), addr, false);
	if (!err)
		memcpy(buffer, sim_bytes(sim_caller(sim), addr), bytes);
	return sim_leave(err, 0);
}

int sim_copy_out(struct sim *sim, uint64_t addr, const void *buffer, uint32_t bytes)
{
	int err = SIM_ENTER(COPY_OUT, addr, bytes);

	must_exist(sim, addr, bytes);
	if (!err)
		err = kernel_fault_in(sim_caller(sim), addr, true);
	if (!err)
		memcpy(sim_bytes(sim_caller(sim), addr), buffer, bytes);
	return sim_leave(err, 0);
}

/* --- a device ------------------------------------------------------------- */

static struct sim_pin *pin_of(struct sim *sim, const struct sim_process *process,
			      uint64_t addr)
{
	LIST_FOR_EACH(node, &sim->pins) {
		struct sim_pin *pin = LIST_ENTRY(node, struct sim_pin, link);

		if (pin->process == process && pin->addr == addr)
			return pin;
	}
	return NULL;
}

int sim_pin(struct sim *sim, uint64_t addr, bool write, struct sim_pin **out)
{
	struct sim_process *process = sim_caller(sim);
	int err = SIM_ENTER(PIN, addr, write);
	struct sim_pin *pin;
	uint16_t *flags;

	if (!err)
		err = kernel_fault_in(process, addr, write);
	if (err)
		return sim_leave(err, 0);
	addr = ALIGN_DOWN(addr, PAGE_BYTES);
	flags = sim_flags(process, addr);
	if (*flags & SIM_PAGE_SHARED) { /* who pins gets a page of its own */
		sim_split_block(process, addr);
		*flags &= (uint16_t)~SIM_PAGE_SHARED;
	}
	*flags |= SIM_PAGE_PINNED;
	pin = sim->free_pins;
	if (pin)
		sim->free_pins = *(struct sim_pin **)pin->bytes;
	else
		pin = sim_alloc(sim, sizeof(*pin) + sim->config.frame_bytes);
	pin->process = process;
	pin->addr = addr;
	list_init(&pin->link);
	list_push_back(&sim->pins, &pin->link);
	*out = pin;
	return sim_leave(0, 0);
}

void sim_unpin(struct sim *sim, struct sim_pin *pin)
{
	SIM_ENTER(UNPIN, pin->addr);
	if (!list_is_empty(&pin->link)) {
		list_remove(&pin->link);
		if (!pin_of(sim, pin->process, pin->addr))
			*sim_flags(pin->process, pin->addr) &= (uint16_t)~SIM_PAGE_PINNED;
	}
	*(struct sim_pin **)pin->bytes = sim->free_pins;
	sim->free_pins = pin;
	sim_leave(0, 0);
}

static uint8_t *pin_bytes(struct sim *sim, struct sim_pin *pin, uint32_t offset,
			  uint32_t bytes)
{
	must_exist(sim, offset, bytes);
	if (list_is_empty(&pin->link))
		return pin->bytes + offset;
	return sim_bytes(pin->process, pin->addr + offset);
}

void sim_pin_read(struct sim *sim, struct sim_pin *pin, uint32_t offset, void *buffer,
		  uint32_t bytes)
{
	SIM_ENTER(PIN_READ, pin->addr + offset);
	memcpy(buffer, pin_bytes(sim, pin, offset, bytes), bytes);
	sim_leave(0, 0);
}

void sim_pin_write(struct sim *sim, struct sim_pin *pin, uint32_t offset,
		   const void *buffer, uint32_t bytes)
{
	SIM_ENTER(PIN_WRITE, pin->addr + offset);
	memcpy(pin_bytes(sim, pin, offset, bytes), buffer, bytes);
	sim_leave(0, 0);
}

/* --- what the kernel does of itself --------------------------------------- */

static bool can_swap(struct sim_process *process, uint64_t addr)
{
	const struct sim_vma *vma = sim_vma_at(process, addr);
	uint32_t flags = sim_flags_read(process, addr);

	return vma && vma->kind == SYS_VMA_ANON_PRIVATE && !(vma->flags & SIM_VMA_MLOCKED) &&
	       addr < process->sim->config.arena_start && flags & SYS_PAGE_PRESENT &&
	       !(flags & (SIM_PAGE_PINNED | SYS_PAGE_ZERO));
}

uint64_t sim_do_swap_out(struct sim_process *process, struct span span)
{
	uint64_t count = 0;

	SIM_FOR_PAGES(addr, span) {
		uint16_t *flags = sim_flags(process, addr);

		if (!flags || !can_swap(process, addr))
			continue;
		sim_split_block(process, addr);
		count++;
		if (*flags & SIM_PAGE_LAZY)
			sim_page_erase(process, addr); /* nobody wants it */
		else
			*flags = (uint16_t)((*flags & ~SYS_PAGE_PRESENT) | SYS_PAGE_SWAPPED);
	}
	return count;
}

uint64_t sim_swap_out(struct sim *sim, struct span span)
{
	return sim_do_swap_out(sim_caller(sim), span);
}

/* Some page of process 0 is swapped out. */
void sim_swap_some(struct sim *sim)
{
	struct sim_process *process = sim->processes[0];
	const struct sim_vma *vma;
	uint64_t page;

	if (process->dead || !process->vma_count)
		return;
	vma = &process->vmas[prng_below(&sim->odds_prng, process->vma_count)];
	page = prng_below(&sim->odds_prng, span_pages(vma->span));
	sim_do_swap_out(process, span_make(vma->span.start + page * PAGE_BYTES, PAGE_BYTES));
}

static bool can_merge(struct sim_process *process, uint64_t addr)
{
	const struct sim_vma *vma = sim_vma_at(process, addr);

	return vma && vma->flags & SIM_VMA_MERGEABLE && can_swap(process, addr);
}

uint64_t sim_merge_equal(struct sim *sim, struct span span)
{
	struct sim_process *process = sim_caller(sim);
	uint64_t first = 0, count = 0;

	/* With the first page only: it is sharing that matters, not saving. */
	SIM_FOR_PAGES(addr, span) {
		if (!can_merge(process, addr))
			continue;
		if (!first) {
			first = addr;
			continue;
		}
		if (memcmp(sim_bytes(process, first), sim_bytes(process, addr),
			   sim->config.frame_bytes))
			continue;
		sim_split_block(process, first);
		sim_split_block(process, addr);
		*sim_flags(process, first) |= SIM_PAGE_SHARED;
		*sim_flags(process, addr) |= SIM_PAGE_SHARED;
		count++;
	}
	return count;
}

/* --- the library's accessor ----------------------------------------------- */

static uint64_t atomic_result(enum sys_access_op op, uint64_t old, uint64_t operand,
			      uint64_t compare, uint32_t bytes)
{
	/* Sign extension, so that one comparison serves both sizes. */
	int64_t a = bytes == 4 ? (int32_t)old : (int64_t)old;
	int64_t b = bytes == 4 ? (int32_t)operand : (int64_t)operand;

	switch (op) {
	case SYS_ACCESS_ADD:
		return old + operand;
	case SYS_ACCESS_SUB:
		return old - operand;
	case SYS_ACCESS_AND:
		return old & operand;
	case SYS_ACCESS_OR:
		return old | operand;
	case SYS_ACCESS_XOR:
		return old ^ operand;
	case SYS_ACCESS_EXCHANGE:
		return operand;
	case SYS_ACCESS_COMPARE_EXCHANGE:
		return old == compare ? operand : old;
	case SYS_ACCESS_MIN:
		return MIN(old, operand);
	case SYS_ACCESS_MAX:
		return MAX(old, operand);
	case SYS_ACCESS_SIGNED_MIN:
		return (uint64_t)MIN(a, b);
	case SYS_ACCESS_SIGNED_MAX:
		return (uint64_t)MAX(a, b);
	default:
		sim_misuse("no such access", __FILE__, __LINE__);
	}
}

/* The access itself, within a page that is there. */
void sim_access_bytes(enum sys_access_op op, void *at, void *buffer, uint32_t bytes)
{
	uint64_t mask = bytes == 4 ? UINT32_MAX : UINT64_MAX;
	uint64_t *arguments = buffer;
	uint64_t compare = 0;
	uint64_t old = 0;
	uint64_t new;

	if (op == SYS_ACCESS_READ) {
		memcpy(buffer, at, bytes);
		return;
	}
	if (op == SYS_ACCESS_WRITE) {
		memcpy(at, buffer, bytes);
		return;
	}
	if (op == SYS_ACCESS_COMPARE_EXCHANGE)
		compare = arguments[1] & mask;
	memcpy(&old, at, bytes);
	new = atomic_result(op, old, arguments[0] & mask, compare, bytes);
	memcpy(at, &new, bytes);
	arguments[0] = old;
}

/* Bytes that do not exist read as zeros, and what is written there is lost. */
static void access_part(struct sim *sim, enum sys_access_op op, uint64_t addr, uint8_t *at,
			uint32_t bytes)
{
	uint64_t offset = addr % PAGE_BYTES;
	uint32_t real = 0;

	if (offset < sim->config.frame_bytes)
		real = (uint32_t)MIN(bytes, sim->config.frame_bytes - offset);
	if (op != SYS_ACCESS_READ && op != SYS_ACCESS_WRITE)
		must_exist(sim, addr, bytes);
	sim_access_bytes(op, sim_bytes(sim->processes[0], addr), at, real);
	if (op == SYS_ACCESS_READ)
		memset(at + real, 0, bytes - real);
}

/* Atomics that are no instruction of the processor are a load and an exchange. */
static bool loads_first(enum sys_access_op op)
{
	return (op >= SYS_ACCESS_AND && op <= SYS_ACCESS_XOR) || op >= SYS_ACCESS_MIN;
}

int sim_do_access(struct sim *sim, enum sys_access_op op, uint64_t addr, void *buffer,
		  uint32_t bytes)
{
	struct sim_process *process = sim->processes[0];
	bool is_atomic = op != SYS_ACCESS_READ && op != SYS_ACCESS_WRITE;
	uint8_t *at = buffer;

	if (is_atomic && ((bytes != 4 && bytes != 8) || !IS_ALIGNED(addr, bytes)))
		return -EINVAL;
	if (sim->current && sim->current->kicked) {
		sim->current->kicked = false;
		return -EINTR;
	}
	while (bytes) {
		uint64_t left = PAGE_BYTES - addr % PAGE_BYTES;
		uint32_t part = (uint32_t)MIN(left, bytes);
		int err = span_contains(sim->window, addr) ? 0 : -EFAULT;

		if (!err && loads_first(op))
			err = sim_fault_in(process, addr, false);
		if (!err)
			err = sim_fault_in(process, addr, op != SYS_ACCESS_READ);
		if (err)
			return err == -EBUSY ? -EFAULT : err;
		access_part(sim, op, addr, at, part);
		addr += part;
		at += part;
		bytes -= part;
	}
	return 0;
}
