/* SPDX-License-Identifier: MIT */
/*
 * DOC: a second opinion on batches
 *
 * A straight interpreter over a flat window: no TLB, no page table, no sections, one
 * function for all that a command may be. The order of its checks is part of what is
 * compared: length, operands behind the header, fields, alignment, then memory from the
 * lowest address up.
 *
 * Of registers, of what waits or depends on them, and of the blitter it has no opinion: a
 * batch that comes to such a command is run, and has to end, and no more is said.
 */
#include <errno.h>

#include "fuzz/fuzz.h"
#include "fuzz/streamer.h"

#define DWORDS_AT_ONCE 15u

struct place {
	uint64_t at;
	uint64_t next;
	uint64_t return_to;
	bool called;
	bool over;
};

static bool denied(struct streamer_model *m, uint64_t addr, uint32_t access, int error)
{
	m->error = error;
	m->fault_addr = addr;
	m->fault_access = access;
	return false;
}

static bool may(struct streamer_model *m, uint64_t addr, uint32_t access)
{
	const struct fake_page *page;

	if (addr < FAKE_ADDR || addr - FAKE_ADDR >= STREAMER_BYTES)
		return denied(m, addr, access, -EFAULT);
	page = &m->page[(addr - FAKE_ADDR) / PAGE_BYTES];
	if (page->place == FAKE_NOTHING)
		return denied(m, addr, access, -EFAULT);
	if (access == USVM_ACCESS_WRITE && !(page->flags & USVM_PTE_WRITE))
		return denied(m, addr, access, -EPERM);
	if (access == USVM_ACCESS_ATOMIC && !(page->flags & USVM_PTE_ATOMIC))
		return denied(m, addr, access, -EACCES);
	return true;
}

static bool fetch(struct streamer_model *m, uint64_t addr, uint32_t *dword)
{
	if (!may(m, addr, USVM_ACCESS_READ))
		return false;
	memcpy(dword, m->image + (addr - FAKE_ADDR), 4);
	return true;
}

static bool put(struct streamer_model *m, uint64_t addr, uint64_t value, unsigned int bytes)
{
	if (!may(m, addr, USVM_ACCESS_WRITE))
		return false;
	memcpy(m->image + (addr - FAKE_ADDR), &value, bytes);
	return true;
}

static uint64_t target(const uint32_t *d)
{
	return ((d[0] & 0xfffffffcu) | (uint64_t)d[1] << 32) & 0xffffffffffffu;
}

static bool bad(struct streamer_model *m, const struct place *p)
{
	m->error = -EINVAL;
	m->fault_addr = p->at;
	return false;
}

/* Those behind the first DWORDS_AT_ONCE are fetched when they are needed: a store may have
 * changed them by then. */
static bool operand(struct streamer_model *m, const struct place *p, const uint32_t *d,
		    uint32_t index, uint32_t *dword)
{
	if (index >= DWORDS_AT_ONCE)
		return fetch(m, p->at + 4 + 4 * (uint64_t)index, dword);
	*dword = d[index];
	return true;
}

static bool store(struct streamer_model *m, const struct place *p, uint32_t header,
		  const uint32_t *d, uint32_t count)
{
	unsigned int bytes = header & 0x200000 ? 8 : 4;
	uint64_t to = target(d);

	if ((header & 0x400000) || (4 * (count - 2)) % bytes || to % bytes)
		return bad(m, p);
	for (uint32_t i = 2; i < count; i += bytes / 4, to += bytes) {
		uint32_t half[2] = { 0, 0 };

		if (!operand(m, p, d, i, &half[0]) ||
		    (bytes == 8 && !operand(m, p, d, i + 1, &half[1])))
			return false;
		if (!put(m, to, half[0] | (uint64_t)half[1] << 32, bytes))
			return false;
	}
	return true;
}

static uint64_t atomic_value(uint32_t op, uint64_t old, uint64_t a, uint64_t b, bool wide)
{
	bool less = wide ? (int64_t)old < (int64_t)a : (int32_t)old < (int32_t)a;

	switch (op) {
	case 1:
		return old & a;
	case 2:
		return old | a;
	case 3:
		return old ^ a;
	case 4:
		return a;
	case 5:
		return old + 1;
	case 6:
		return old - 1;
	case 7:
		return old + a;
	case 8:
		return old - a;
	case 10:
		return less ? a : old;
	case 11:
		return less ? old : a;
	case 12:
		return old < a ? a : old;
	case 13:
		return old < a ? old : a;
	default: /* 14 */
		return old == a ? b : old;
	}
}

static bool atomic(struct streamer_model *m, const struct place *p, uint32_t header,
		   const uint32_t *d, uint32_t count)
{
	uint32_t size = header >> 19 & 3;
	uint32_t op = header >> 8 & 0xff;
	bool wide = size == 1;
	bool no_operand = (op & 0x1f) == 5 || (op & 0x1f) == 6;
	unsigned int bytes = wide ? 8 : 4;
	uint64_t to = target(d);
	uint64_t a = 0, b = 0, old = 0;

	if ((header & 0x410000) || size > 1 || to % bytes || (op >> 5) != (wide ? 1u : 0u))
		return bad(m, p);
	op &= 0x1f;
	if (!op || op == 9 || op > 14)
		return bad(m, p);
	if (header & 0x40000) {
		if (count + 1 < (wide ? 7u : 5u))
			return bad(m, p);
		a = d[2] | (wide ? (uint64_t)d[4] << 32 : 0);
		b = d[3] | (wide ? (uint64_t)d[5] << 32 : 0);
	} else if (!no_operand || count != 2) {
		return bad(m, p);
	}
	if (!may(m, to, USVM_ACCESS_ATOMIC))
		return false;
	memcpy(&old, m->image + (to - FAKE_ADDR), bytes);
	a = atomic_value(op, old, a, b, wide);
	memcpy(m->image + (to - FAKE_ADDR), &a, bytes);
	return true;
}

/* The operands: @count dwords behind the header, of which @d has those that are fetched
 * with it. Return: go on. */
static bool run_long(struct streamer_model *m, struct place *p, uint32_t header,
		     const uint32_t *d, uint32_t count)
{
	uint32_t copied;

	switch (header >> 23) {
	case 0x20:
		return store(m, p, header, d, count);
	case 0x2e:
		if (header & 0x600000)
			return bad(m, p);
		return fetch(m, target(d + 2), &copied) && put(m, target(d), copied, 4);
	case 0x26:
		if (!(header & 0xc000))
			return true;
		if ((header & 0xc000) != 0x4000 || count != 4 || (header & 0x200000) ||
		    (d[0] & 4) || target(d) % 8)
			return bad(m, p);
		return put(m, target(d), d[2] | (uint64_t)d[3] << 32, 8);
	case 0x2f:
		return atomic(m, p, header, d, count);
	case 0x31:
		if (header & 0x8000)
			return bad(m, p);
		if ((header & 0x400000) && !p->called) {
			p->called = true;
			p->return_to = p->next;
		}
		p->next = target(d);
		return true;
	default: /* PIPE_CONTROL */
		if (!(d[0] & 0xc000))
			return true;
		if ((d[0] & 0xc000) != 0x4000 || (d[0] & 0x1200000) || target(d + 1) % 8)
			return bad(m, p);
		return put(m, target(d + 1), d[3] | (uint64_t)d[4] << 32, 8);
	}
}

/* How many dwords may follow this header, and what of it says how many do. */
static bool length_of(uint32_t header, uint32_t *mask, uint32_t *least, uint32_t *most)
{
	static const struct {
		uint32_t opcode, mask, least, most;
	} known[] = {
		{ 0x20, 0x3ff, 3, 0x400 }, { 0x26, 0x3f, 2, 4 },  { 0x2f, 0xff, 2, 10 },
		{ 0x31, 0xff, 2, 2 },	   { 0xf4, 0xff, 5, 5 },  { 0x2e, 0xff, 4, 4 },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (header >> 23 != known[i].opcode)
			continue;
		/* Of render commands one is known; its whole upper half. */
		if (known[i].opcode == 0xf4 && header >> 16 != 0x7a00)
			continue;
		*mask = known[i].mask;
		*least = known[i].least;
		*most = known[i].most;
		return true;
	}
	return false;
}

static bool has_opinion(uint32_t header)
{
	static const unsigned char without[] = { 0x1a, 0x1c, 0x22, 0x24, 0x29, 0x2a, 0x36 };

	for (size_t i = 0; i < sizeof(without); i++) {
		if (header >> 23 == without[i])
			return false;
	}
	return header >> 29 != 2;
}

static bool step(struct streamer_model *m, struct place *p)
{
	uint32_t header, mask, least, most;
	uint32_t d[DWORDS_AT_ONCE] = { 0 };
	uint32_t count;

	if (!fetch(m, p->at, &header))
		return false;
	p->next = p->at + 4;
	switch (header >> 23) {
	case 0x00:
	case 0x02:
	case 0x05:
	case 0x08:
	case 0x09:
		return true;
	case 0x0a:
		p->over = !p->called;
		p->called = false;
		p->next = p->return_to;
		return true;
	default:
		break;
	}
	if (!has_opinion(header)) {
		m->error = STREAMER_NO_OPINION;
		return false;
	}
	if (!length_of(header, &mask, &least, &most))
		return bad(m, p);
	count = (header & mask) + 1;
	if (count < least || count > most)
		return bad(m, p);
	p->next += 4 * (uint64_t)count;
	for (uint32_t i = 0; i < count && i < DWORDS_AT_ONCE; i++) {
		if (!fetch(m, p->at + 4 + 4 * (uint64_t)i, &d[i]))
			return false;
	}
	return run_long(m, p, header, d, count);
}

void streamer_model_run(struct streamer_model *m, uint64_t batch_addr, uint64_t fence_addr,
			uint64_t fence_value)
{
	struct place p = { .at = batch_addr };

	m->error = 0;
	m->fault_addr = 0;
	m->fault_access = 0;
	while (step(m, &p) && !p.over) {
		if (!--m->steps_left) {
			m->error = -ECANCELED;
			return;
		}
		p.at = p.next;
	}
	if (!m->error && fence_addr)
		put(m, fence_addr, fence_value, 8);
}
