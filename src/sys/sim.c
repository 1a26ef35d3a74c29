/* SPDX-License-Identifier: MIT */
/*
 * DOC: a kernel in memory
 *
 * Every call begins with sim_enter(), which is its yield point, counts it, and has the
 * answer if it was ordered to fail; and ends with sim_leave().
 */
#include <errno.h>
#include <string.h>

#include "sys/sim_internal.h"

struct sim *sim_now;

static const struct {
	const char *name;
	bool fails;
} ops[SIM_OP_COUNT + 1] = {
#define SIM_OP(op_name, text, can_fail, ...) { text, can_fail },
#include "sys/sim_ops.inc"
#undef SIM_OP
};

/* --- configuration -------------------------------------------------------- */

struct sim_config sim_config_default(uint64_t seed)
{
	return (struct sim_config){
		.seed = seed,
		.features = SIM_ALL_FEATURES,
		.frame_bytes = 64,
		.max_map_count = 65530,
		.cpu_count = 2,
		.arena_start = SIM_ARENA,
		.end = SIM_END,
		.thp = SIM_THP_ADVISED,
		.preempt_1_in = 8,
		.change_count = 4,
		.change_span = 10000,
		.freeze_1_in = 2,
		.freeze_steps = 4096,
		.step_ns = 50,
		.trace_max = 4096,
	};
}

static bool config_is_valid(const struct sim_config *c)
{
	uint32_t frame = c->frame_bytes;

	return frame >= 64 && frame <= PAGE_BYTES && !(frame & (frame - 1)) &&
	       !(c->features & ~SIM_ALL_FEATURES) && c->max_map_count && c->cpu_count &&
	       c->thp <= SIM_THP_ALWAYS && c->policy <= SIM_POLICY_STARVE &&
	       c->freeze_1_in && c->freeze_steps &&
	       IS_ALIGNED(c->arena_start | c->end, HUGE_BYTES) && c->step_ns &&
	       c->arena_start > SIM_START && c->end > c->arena_start && c->end <= SIM_END;
}

static void config_apply(struct sim *sim, const struct sim_config *config)
{
	sim->config = *config;
	sim->sys = (struct sys){
		.ops = &sim_ops,
		.features = config->features,
		.features_found = config->features,
		.limits = {
			.max_map_count = config->max_map_count,
			.cpu_count = config->cpu_count,
			.huge_pages_always = config->thp == SIM_THP_ALWAYS,
			.huge_pages_never = config->thp == SIM_THP_NEVER,
		},
	};
	sim->features_of = &sim->sys;
	sim->window = (struct span){ SIM_START, config->end };
	sim->exclusions[0] = config->exclusion;
	sim->exclusion_count = !span_is_empty(config->exclusion);
	prng_seed(&sim->schedule_prng, config->seed);
	prng_seed(&sim->odds_prng, config->seed ^ 0x6f64647321u);
	prng_seed(&sim->user_prng, config->seed ^ 0x7573657221u);
	sim->clock_ns = 1000000000;
	sim->next_deadline_ns = BASE_FOREVER;
	sim->low_priority = UINT32_MAX;
	sim->trace = sim_alloc(sim, config->trace_max * sizeof(*sim->trace));
	sim->switch_max = 1u << 25;
	sim->switches = sim_alloc(sim, sim->switch_max * sizeof(*sim->switches));
	sim->threads = sim_alloc(sim, SIM_THREADS_MAX * sizeof(struct sim_thread *));
	sim->ready = sim_alloc(sim, SIM_THREADS_MAX * sizeof(struct sim_thread *));
	sim->change_steps = sim_alloc(sim, (config->change_count + 1) * sizeof(uint64_t));
	for (uint32_t i = 0; i < config->change_count; i++)
		sim->change_steps[i] = prng_below(&sim->schedule_prng,
						  config->change_span + 1);
}

int sim_open(const struct sim_config *config, struct sim **out)
{
	struct sim *sim;
	int err;

	if (sim_now)
		return -EBUSY;
	if (!config_is_valid(config))
		return -EINVAL;
	err = sim_region_make(&sim, config->end - config->arena_start);
	if (err)
		return err;
	list_init(&sim->free_events);
	list_init(&sim->free_faults);
	list_init(&sim->faults);
	list_init(&sim->other_events);
	list_init(&sim->pins);
	list_init(&sim->blocked);
	sim_now = sim;
	config_apply(sim, config);
	sim->uffd_count = 1; /* 0 is none */
	sim->entered = sim_process_new(sim);
	base_host_install(&sim_host_ops);
	*out = sim;
	return 0;
}

void sim_close(struct sim *sim)
{
	SIM_MUST(sim_now == sim && !sim->running);
	base_host_install(NULL);
	sim_now = NULL;
	sim_region_give_back(sim);
}

struct sys *sim_sys(struct sim *sim)
{
	return &sim->sys;
}

uint64_t sim_rand(struct sim *sim, uint64_t limit)
{
	return prng_below(&sim->user_prng, limit);
}

bool sim_odd(struct sim *sim, uint32_t one_in)
{
	return one_in && prng_below(&sim->odds_prng, one_in) == 0;
}

/* --- calls and ordered failures ------------------------------------------- */

int sim_enter(enum sim_op op, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	struct sim *sim = sim_now;
	struct sim_injection *one = &sim->injections[op];
	struct sim_injection *any = &sim->injections[SIM_OP_COUNT];
	const uint64_t args[4] = { a, b, c, d };
	int error = 0;

	if (sim->outside && sim->outside->enter)
		sim->outside->enter(sim->outside->arg, ops[op].name);
	sim_call_point();
	if (sim_odd(sim, sim->config.odds.swap_out))
		sim_swap_some(sim);
	one->calls++;
	if (one->fails_at && (one->calls == one->fails_at ||
			      (one->for_ever && one->calls > one->fails_at)))
		error = one->error;
	if (ops[op].fails) {
		any->calls++;
		if (!error && any->fails_at &&
		    (any->calls == any->fails_at ||
		     (any->for_ever && any->calls > any->fails_at)))
			error = any->error;
	}
	if (sim->current && !sim->quiet) {
		sim->current->op = op;
		sim->current->trace_serial = sim_trace_begin(sim, op, args);
	}
	return -error;
}

int sim_leave(int result, uint64_t value)
{
	struct sim *sim = sim_now;

	if (sim->current && !sim->quiet)
		sim_trace_end(sim, sim->current->trace_serial, result, value);
	if (sim->outside && sim->outside->leave)
		sim->outside->leave(sim->outside->arg);
	return result;
}

static struct sim_injection *injection_find(struct sim *sim, const char *name)
{
	size_t i = 0;

	if (!name)
		return &sim->injections[SIM_OP_COUNT];
	while (i < SIM_OP_COUNT && strcmp(ops[i].name, name))
		i++;
	SIM_MUST(i < SIM_OP_COUNT);
	return &sim->injections[i];
}

void sim_inject(struct sim *sim, const char *op, uint64_t nth, int error, bool for_ever)
{
	struct sim_injection *injection = injection_find(sim, op);

	SIM_MUST(nth || !error);
	injection->fails_at = error ? injection->calls + nth : 0;
	injection->error = error;
	injection->for_ever = for_ever;
}

uint64_t sim_calls(const struct sim *sim, const char *op)
{
	return injection_find((struct sim *)sim, op)->calls;
}

const char *sim_op_name(size_t number)
{
	return number < SIM_OP_COUNT ? ops[number].name : NULL;
}

/* --- looking -------------------------------------------------------------- */

uint32_t sim_page(struct sim *sim, struct sim_process *process, uint64_t addr)
{
	SIM_MUST(span_contains(sim->window, addr));
	return sim_flags_read(process, addr) & ~(uint32_t)SIM_PAGE_LARGE;
}

int sim_peek(struct sim *sim, struct sim_process *process, uint64_t addr, uint64_t *value)
{
	SIM_MUST(span_contains(sim->window, addr));
	if (!(sim_flags_read(process, addr) & SIM_PAGE_CONTENTS))
		return -ENOENT;
	SIM_MUST(addr % PAGE_BYTES + sizeof(*value) <= sim->config.frame_bytes);
	memcpy(value, sim_bytes(process, addr), sizeof(*value));
	return 0;
}

size_t sim_vma_count(const struct sim *sim UNUSED, const struct sim_process *process)
{
	return process->vma_count;
}

size_t sim_events(const struct sim *sim)
{
	return sim->event_count;
}

static bool is_librarys(const struct sim_thread *thread)
{
	return strncmp(thread->name, "usvm-", 5) == 0;
}

/* An engine answers no fault. Who sleeps with a lock, or for one, is at work. */
static bool is_at_work(const struct sim_thread *thread)
{
	if (thread->process->number != 0 || thread->state == SIM_THREAD_ENDED ||
	    !is_librarys(thread) || strncmp(thread->name, "usvm-engine", 11) == 0)
		return false;
	return thread->state != SIM_THREAD_BLOCKED || thread->base.held_count ||
	       (thread->op != SIM_OP_UFFD_WAIT && strcmp(thread->wait_what, "park") != 0);
}

size_t sim_unanswered(const struct sim *sim, uint64_t *addrs, size_t max)
{
	bool is_heard = false;
	size_t count = 0;

	for (uint32_t i = 0; i < sim->thread_count; i++) {
		const struct sim_thread *t = sim->threads[i];

		if (is_at_work(t))
			return 0;
		is_heard = is_heard || (t->process->number == 0 && is_librarys(t) &&
					t->state == SIM_THREAD_BLOCKED &&
					t->op == SIM_OP_UFFD_WAIT);
	}
	if (!is_heard)
		return 0;
	LIST_FOR_EACH(node, &sim->faults) {
		const struct sim_fault *f = LIST_ENTRY(node, struct sim_fault, link);

		if (f->read && f->process->number == 0 && f->waiter &&
		    !is_librarys(f->waiter) && f->waiter->state == SIM_THREAD_BLOCKED &&
		    count < max)
			addrs[count++] = f->event.addr;
	}
	return count;
}

size_t sim_sleepers(const struct sim *sim, const struct sim_process *process,
		    struct span span)
{
	size_t count = 0;

	LIST_FOR_EACH(node, &sim->faults) {
		const struct sim_fault *f = LIST_ENTRY(node, struct sim_fault, link);

		count += f->process == process && span_contains(span, f->event.addr);
	}
	return count;
}

static void check_process(struct sim *sim, struct sim_process *process)
{
	uint64_t end = SIM_START;

	for (size_t i = 0; i < process->vma_count; i++) {
		const struct sim_vma *vma = &process->vmas[i];

		SIM_MUST(vma->span.start >= end && vma->span.end > vma->span.start);
		SIM_MUST(span_covers(sim->window, vma->span));
		SIM_MUST(!vma->mode == !vma->uffd);
		SIM_MUST(!vma->uffd ||
			 sim->uffds[vma->uffd].process == process);
		end = vma->span.end;
	}
	SIM_MUST(process->vma_count <= sim->config.max_map_count);
	for (uint64_t addr = SIM_START; addr < sim->window.end; addr += HUGE_BYTES) {
		struct sim_block *block = process->blocks[(addr - SIM_START) >> HUGE_SHIFT];
		bool huge = block && block->flags[0] & SYS_PAGE_HUGE;

		for (size_t i = 0; block && i < PAGES_PER_HUGE; i++) {
			uint32_t flags = block->flags[i];

			SIM_MUST(!(flags & SYS_PAGE_HUGE) == !huge);
			SIM_MUST(!huge || flags & SYS_PAGE_PRESENT);
			SIM_MUST(!flags || sim_vma_at(process, addr + i * PAGE_BYTES));
			SIM_MUST((flags & SIM_PAGE_CONTENTS) != SIM_PAGE_CONTENTS);
		}
	}
}

void sim_check(struct sim *sim)
{
	uint64_t pending = 0, changing = 0;

	for (uint32_t i = 0; i < sim->process_count; i++)
		if (!sim->processes[i]->dead)
			check_process(sim, sim->processes[i]);
	for (uint32_t i = 1; i < sim->uffd_count; i++) {
		changing += sim->uffds[i].process ? sim->uffds[i].changing : 0;
		pending += sim->uffds[i].process ? sim->uffds[i].unread_faults : 0;
	}
	SIM_MUST(changing == sim->event_count);
	LIST_FOR_EACH(node, &sim->faults)
		pending -= !LIST_ENTRY(node, struct sim_fault, link)->read;
	SIM_MUST(!pending);
}
