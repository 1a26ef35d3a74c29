/* SPDX-License-Identifier: MIT */
/*
 * fake_pages.c - pages of the fake kernel, and threads that sleep in faults.
 */
#include "support/fake_internal.h"

#include <errno.h>
#include <string.h>

/* The page without a look at its contents; NULL outside of the window. */
struct fake_page *fake_slot(struct fake_process *process, uint64_t addr)
{
	if (!span_contains(FAKE_WINDOW, addr))
		return NULL;
	return &process->pages[(addr - FAKE_BASE) >> PAGE_SHIFT];
}

unsigned char *fake_bytes_at(struct fake_process *process, uint64_t addr)
{
	MUST(span_contains(FAKE_WINDOW, addr));
	return process->bytes + (addr - FAKE_BASE);
}

struct fake_page *fake_page_at(struct fake_process *process, uint64_t addr)
{
	static const unsigned char zeros[PAGE_BYTES];
	struct fake_page *page = fake_slot(process, addr);

	MUST(page);
	addr = ALIGN_DOWN(addr, PAGE_BYTES);
	if (addr >= FAKE_ARENA && page->vma.mapping && !page->flags &&
	    memcmp(fake_bytes_at(process, addr), zeros, PAGE_BYTES))
		page->flags = SYS_PAGE_PRESENT;
	return page;
}

bool fake_is_same_vma(const struct fake_page *a, const struct fake_page *b)
{
	return a && b && a->vma.mapping && !memcmp(&a->vma, &b->vma, sizeof(a->vma));
}

/* Return: 0 @span lies in one VMA; -ENOENT nothing is mapped at its start; -EINVAL. */
int fake_one_vma(struct fake_process *process, struct span span)
{
	struct fake_page *first = fake_slot(process, span.start);

	if (!first || !first->vma.mapping)
		return -ENOENT;
	FOR_PAGES(addr, span)
	if (!fake_is_same_vma(first, fake_slot(process, addr)))
		return -EINVAL;
	return 0;
}

/* Huge pages of which only a part lies in @span become small ones. */
void fake_split_huge(struct fake_process *process, struct span span)
{
	uint64_t ends[] = { span.start, span.end };

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		if (IS_ALIGNED(ends[i], HUGE_BYTES))
			continue;
		FOR_PAGES(addr, span_block(ends[i], HUGE_BYTES))
		fake_slot(process, addr)->flags &= ~(uint32_t)SYS_PAGE_HUGE;
	}
}

void fake_zap(struct fake_process *process, struct span span)
{
	fake_split_huge(process, span);
	FOR_PAGES(addr, span)
	{
		struct fake_page *page = fake_page_at(process, addr);

		if (page->flags & FAKE_HAS_CONTENTS)
			memset(fake_bytes_at(process, addr), 0, PAGE_BYTES);
		page->flags = 0;
	}
}

/* Copy a page with its flags; the VMA's attributes stay. */
void fake_carry(struct fake_process *to, uint64_t dst, struct fake_process *from,
		uint64_t src)
{
	struct fake_page *page = fake_page_at(from, src);

	fake_slot(to, dst)->flags = page->flags;
	if (page->flags & FAKE_HAS_CONTENTS)
		memcpy(fake_bytes_at(to, dst), fake_bytes_at(from, src), PAGE_BYTES);
}

/* --- faults ---------------- */

static int sleep_in_fault(struct fake_sys *fake, struct fake_process *process,
			  uint64_t addr, uint32_t fault_flags)
{
	struct fake_state *state = fake->state;
	bool tells = sys_has(&fake->sys, SYS_FEATURE_THREAD_ID);

	MUST(state->sleeper_count < ARRAY_SIZE(state->sleepers));
	state->sleepers[state->sleeper_count++] = (struct fake_sleeper){
		.process = process,
		.fault = { .type = SYS_EVENT_FAULT,
			   .fault_flags = fault_flags,
			   .thread_id = tells ? fake_thread_id(fake) : 0,
			   .addr = ALIGN_DOWN(addr, PAGE_BYTES) },
		.number = ++state->sleep_count,
		.thread_id = fake_thread_id(fake),
		.uffd = fake_slot(process, addr)->vma.uffd,
	};
	pthread_cond_broadcast(&state->changed);
	return -EAGAIN;
}

/* Return: as fake_touch(). */
int fake_touch_locked(struct fake_sys *fake, struct fake_process *process, uint64_t addr,
		      bool write)
{
	struct fake_page *page = fake_slot(process, addr);

	if (!page || !page->vma.mapping ||
	    !(page->vma.prot & (write ? SYS_PROT_WRITE : SYS_PROT_READ)))
		return -EFAULT;
	page = fake_page_at(process, addr);
	if (page->flags & (SYS_PAGE_GUARD | FAKE_PAGE_POISON))
		return -EFAULT;
	if (!(page->flags & FAKE_HAS_CONTENTS)) {
		if (page->vma.mode & SYS_REGISTER_MISSING)
			return sleep_in_fault(fake, process, addr,
					      write ? SYS_FAULT_WRITE : 0);
		if (!write)
			page->flags |= SYS_PAGE_ZERO;
	}
	page->flags &= ~(uint32_t)SYS_PAGE_SWAPPED;
	page->flags |= SYS_PAGE_PRESENT;
	if (!write)
		return 0;

	if (page->flags & FAKE_PAGE_WP && !sys_has(&fake->sys, SYS_FEATURE_WP_ASYNC))
		return sleep_in_fault(fake, process, addr,
				      SYS_FAULT_WRITE | SYS_FAULT_WP);
	page->flags &= ~(uint32_t)(FAKE_PAGE_WP | FAKE_PAGE_SHARED | SYS_PAGE_ZERO);
	return 0;
}

void fake_sleeper_remove(struct fake_state *state, uint64_t number)
{
	size_t kept = 0;

	for (size_t i = 0; i < state->sleeper_count; i++)
		if (state->sleepers[i].number != number)
			state->sleepers[kept++] = state->sleepers[i];
	state->sleeper_count = kept;
}

void fake_wake(struct fake_state *state, struct fake_process *process, struct span span)
{
	size_t kept = 0;

	for (size_t i = 0; i < state->sleeper_count; i++) {
		struct fake_sleeper *s = &state->sleepers[i];

		if (s->process != process || !span_contains(span, s->fault.addr))
			state->sleepers[kept++] = *s;
	}
	state->sleeper_count = kept;
	pthread_cond_broadcast(&state->changed);
}

/* --- for tests ---------------- */

int fake_touch(struct fake_sys *fake, uint64_t addr, bool write)
{
	LOCKED(fake);
	return fake_touch_locked(fake, fake->state->current, addr, write);
}

size_t fake_blocked(struct fake_sys *fake, struct span span)
{
	LOCKED(fake);
	size_t count = 0;

	for (size_t i = 0; i < fake->state->sleeper_count; i++) {
		const struct fake_sleeper *s = &fake->state->sleepers[i];

		count += s->process == fake->state->current &&
			 span_contains(span, s->fault.addr);
	}
	return count;
}

uint32_t fake_page(struct fake_sys *fake, uint64_t addr)
{
	LOCKED(fake);
	return fake_page_at(fake->state->current, addr)->flags;
}

void fake_page_set(struct fake_sys *fake, struct span span, uint32_t flags)
{
	LOCKED(fake);
	FOR_PAGES(addr, span)
	fake_page_at(fake->state->current, addr)->flags |= flags;
}

void fake_page_clear(struct fake_sys *fake, struct span span, uint32_t flags)
{
	LOCKED(fake);
	FOR_PAGES(addr, span)
	fake_page_at(fake->state->current, addr)->flags &= ~flags;
}

uint64_t fake_tag(struct fake_sys *fake, uint64_t addr)
{
	LOCKED(fake);
	uint64_t tag;

	memcpy(&tag, fake_bytes_at(fake->state->current, addr), sizeof(tag));
	return tag;
}

void fake_set_tag(struct fake_sys *fake, uint64_t addr, uint64_t tag)
{
	LOCKED(fake);
	struct fake_page *page = fake_page_at(fake->state->current, addr);

	MUST(page->vma.mapping);
	page->flags |= SYS_PAGE_PRESENT;
	page->flags &= ~(uint32_t)SYS_PAGE_ZERO;
	memcpy(fake_bytes_at(fake->state->current, addr), &tag, sizeof(tag));
}

uint32_t fake_registered(struct fake_sys *fake, uint64_t addr)
{
	LOCKED(fake);
	return fake_page_at(fake->state->current, addr)->vma.mode;
}
