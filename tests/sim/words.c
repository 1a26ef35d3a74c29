/* SPDX-License-Identifier: MIT */
/*
 * DOC: operations in words
 *
 * For who reads what a run did: one line each.
 */
#include "plan.h"

#include <stdio.h>

const char *op_name(enum op_type type)
{
	static const char *const names[OP_COUNT] = {
		[OP_LOAD] = "load", [OP_STORE] = "store", [OP_ADD] = "add",
		[OP_EXCHANGE] = "exchange", [OP_READ_CALL] = "read()",
		[OP_WRITE_CALL] = "write()", [OP_MMAP] = "mmap", [OP_MUNMAP] = "munmap",
		[OP_REMAKE] = "munmap and mmap",
		[OP_MREMAP] = "mremap", [OP_MADVISE] = "madvise",
		[OP_MPROTECT] = "mprotect", [OP_MLOCK] = "mlock", [OP_PIN] = "dma",
		[OP_SWAP] = "swap", [OP_FORK] = "fork", [OP_KERNEL] = "kernel",
		[OP_BATCH] = "batch", [OP_WAIT] = "wait", [OP_PREFETCH] = "prefetch",
		[OP_QUERY] = "query", [OP_QUEUE] = "new queue", [OP_VM] = "new vm",
		[OP_DEVICE] = "new device", [OP_BIND] = "unmirror",
		[OP_UNPLUG] = "unplug", [OP_ADVISE] = "advise", [OP_OBJECT] = "object",
		[OP_BOUNCE] = "to and fro",
	};

	return names[type];
}

const char *plan_place(uint64_t addr, char buffer[32])
{
	uint64_t offset = addr - PLAY_START;

	if (addr < PLAY_START || addr > PLAY_END)
		snprintf(buffer, 32, "%#lx", (unsigned long)addr);
	else if (offset % PAGE_BYTES)
		snprintf(buffer, 32, "%u:%03x+%u", (unsigned int)(offset / HUGE_BYTES),
			 (unsigned int)(offset % HUGE_BYTES / PAGE_BYTES),
			 (unsigned int)(offset % PAGE_BYTES));
	else
		snprintf(buffer, 32, "%u:%03x", (unsigned int)(offset / HUGE_BYTES),
			 (unsigned int)(offset % HUGE_BYTES / PAGE_BYTES));
	return buffer;
}

static const char *advice_name(uint32_t advice)
{
	static const char *const names[] = {
		[SIM_ADVICE_DONTNEED] = "DONTNEED", [SIM_ADVICE_FREE] = "FREE",
		[SIM_ADVICE_HUGEPAGE] = "HUGEPAGE", [SIM_ADVICE_NOHUGEPAGE] = "NOHUGEPAGE",
		[SIM_ADVICE_COLLAPSE] = "COLLAPSE",
		[SIM_ADVICE_POPULATE_READ] = "POPULATE_READ",
		[SIM_ADVICE_POPULATE_WRITE] = "POPULATE_WRITE",
		[SIM_ADVICE_GUARD_INSTALL] = "GUARD_INSTALL",
		[SIM_ADVICE_GUARD_REMOVE] = "GUARD_REMOVE",
		[SIM_ADVICE_DONTFORK] = "DONTFORK", [SIM_ADVICE_DOFORK] = "DOFORK",
		[SIM_ADVICE_WIPEONFORK] = "WIPEONFORK",
		[SIM_ADVICE_KEEPONFORK] = "KEEPONFORK", [SIM_ADVICE_PAGEOUT] = "PAGEOUT",
	};

	return advice < ARRAY_SIZE(names) && names[advice] ? names[advice] : "?";
}

static int format_accesses(const struct op *op, char *buffer, size_t bytes)
{
	static const char *const names[] = { "load", "store", "add", "exchange", "read" };
	int length = snprintf(buffer, bytes, "%s%s%s%s:", op_name(op->type),
			      op->flags & OP_RAW ? " raw" : "",
			      op->flags & OP_ASYNC ? " later" : "",
			      op->flags & OP_FENCE ? " fence" : "");

	for (uint32_t i = 0; i < op->access_count && length < (int)bytes; i++) {
		char place[32];

		length += snprintf(buffer + length, bytes - (size_t)length, " %s %s",
				   names[op->access[i].type],
				   plan_place(op->access[i].addr, place));
	}
	return length;
}

int op_format(const struct op *op, char *buffer, size_t bytes)
{
	char place[32];
	char to[32];
	unsigned int pages = (unsigned int)(op->bytes / PAGE_BYTES);

	plan_place(op->addr, place);
	switch (op->type) {
	case OP_FORK:
	case OP_KERNEL:
	case OP_BATCH:
		return format_accesses(op, buffer, bytes);
	case OP_MREMAP:
		return snprintf(buffer, bytes, "mremap %s, %u pages, to %s%s", place, pages,
				plan_place(op->to, to),
				op->flags & OP_DONTUNMAP ? " DONTUNMAP" : "");
	case OP_MADVISE:
		return snprintf(buffer, bytes, "madvise %s, %u pages, %s", place, pages,
				advice_name(op->detail));
	case OP_MMAP:
	case OP_MPROTECT:
		return snprintf(buffer, bytes, "%s %s, %u pages, %s%s", op_name(op->type),
				place, pages, op->detail & SYS_PROT_WRITE ? "rw" : "r",
				op->flags & OP_SHARED ? " shared" :
				op->flags & OP_NOREPLACE ? " noreplace" : "");
	case OP_PREFETCH:
		return snprintf(buffer, bytes, "prefetch %s, %u pages, %s", place, pages,
				op->flags & OP_ADVISED ? "as advised" :
				op->flags & OP_TO_DEVICE ? "to the device" : "home");
	case OP_ADVISE:
		return snprintf(buffer, bytes, "advise %s, %u pages, %u", place, pages,
				op->detail);
	case OP_MUNMAP:
	case OP_REMAKE:
	case OP_MLOCK:
	case OP_SWAP:
		return snprintf(buffer, bytes, "%s%s %s, %u pages", op_name(op->type),
				op->type == OP_MLOCK && !(op->flags & OP_ON) ? " off" : "",
				place, pages);
	case OP_WAIT:
	case OP_QUEUE:
		return snprintf(buffer, bytes, "%s", op_name(op->type));
	case OP_VM:
		return snprintf(buffer, bytes, "new vm%s",
				op->flags & OP_READ_ONLY ? ", read-only" :
				op->flags & OP_PIECES	 ? ", in pieces" : "");
	case OP_BIND:
		return snprintf(buffer, bytes, "unmirror %s, %u pages%s%s", place, pages,
				op->flags & OP_ON ? ", and mirror" : "",
				op->flags & OP_READ_ONLY ? " read-only" : "");
	case OP_DEVICE:
		return snprintf(buffer, bytes, "new device%s",
				op->flags & OP_OWN ? "" : ": the common one");
	case OP_OBJECT:
		return snprintf(buffer, bytes, "object, kind %u, page %lu, of %lu bytes",
				op->detail, (unsigned long)op->addr, (unsigned long)op->bytes);
	case OP_UNPLUG:
		return snprintf(buffer, bytes, "unplug%s",
				op->flags & OP_OWN ? " one's own" : "");
	default:
		return snprintf(buffer, bytes, "%s %s", op_name(op->type), place);
	}
}
