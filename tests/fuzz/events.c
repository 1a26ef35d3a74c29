/* SPDX-License-Identifier: MIT */
/*
 * DOC: fuzzing the order of events
 *
 * The programs of tests/sim on the simulated kernel, with its oracle for every load, but
 * chosen by bytes: what the threads do, and who runs when. A seed knows nothing of what it
 * reached; an engine keeps the inputs that reached something new and goes on from there.
 *
 *     byte 0      profile: for the device only
 *     byte 1, 2   seed of the setting: threads, device, odds of the kernel; and, where
 *                 there are no switches, of the schedule
 *     byte 3      bits 0 to 4: number of switches; bit 7: what forks do with DONTFORK
 *     switches    3 bytes: steps since the one before, thread
 *     operations  OP_BYTES each, on the playground, of which all but the last block is mapped
 *
 * Places are mostly a few pages of two blocks, so that threads meet. Whatever the bytes
 * say is an operation that a program may do; the model knows what each may give.
 */
#include "fuzz/fuzz.h"
#include "sim/model.h"
#include "sim/plan.h"
#include "sim/run.h"

#define OPS_MAX 40u
#define FIRST_OPS (PLAN_BLOCKS - 1)
#define SWITCHES_MAX 31u
#define STEPS_MAX 20000u
#define OP_BYTES 12u
#define PAGES (PLAN_BLOCKS * (HUGE_BYTES / PAGE_BYTES))
#define BLOCK_PAGES (HUGE_BYTES / PAGE_BYTES)

struct taker {
	struct fuzz_input in;
	bool wipes;
	uint32_t threads;
};

static uint64_t take_page(struct fuzz_input *in)
{
	uint32_t byte = fuzz_take8(in);

	if (byte >= 0xe0)
		return (byte * UINT64_C(97)) % PAGES;
	return byte % 8 + BLOCK_PAGES * (byte / 8 % 2);
}

static uint64_t take_word(struct fuzz_input *in)
{
	uint64_t page = take_page(in);

	return PLAY_START + page * PAGE_BYTES + 8 * (fuzz_take8(in) % MODEL_WORDS);
}

static void take_span(struct fuzz_input *in, struct op *op)
{
	static const uint16_t sizes[] = { 1, 1, 2, 3, 4, 8, 16, BLOCK_PAGES };
	uint64_t page = take_page(in);
	uint32_t how = fuzz_take8(in);
	uint64_t pages = sizes[how % ARRAY_SIZE(sizes)];

	if (pages == BLOCK_PAGES)
		page -= page % BLOCK_PAGES;
	pages = MIN(pages, PAGES - page);
	op->addr = PLAY_START + page * PAGE_BYTES;
	op->bytes = pages * PAGE_BYTES;
	page = MIN(take_page(in), PAGES - pages);
	if (how & 0x80)
		page = MIN(page - page % BLOCK_PAGES, PAGES - pages);
	op->to = PLAY_START + page * PAGE_BYTES;
}

static void take_accesses(struct fuzz_input *in, struct op *op, uint32_t max)
{
	static const enum access_type types[] = { ACCESS_LOAD, ACCESS_STORE, ACCESS_ADD,
						  ACCESS_STORE, ACCESS_EXCHANGE,
						  ACCESS_BULK_READ, ACCESS_LOAD, ACCESS_STORE };
	uint32_t how = fuzz_take8(in);

	op->access_count = 1 + how % max;
	op->flags |= how & 0x40 ? OP_ASYNC : 0;
	for (uint32_t i = 0; i < op->access_count; i++) {
		uint32_t kind = fuzz_take8(in);

		op->access[i].addr = take_word(in);
		op->access[i].type = types[kind % ARRAY_SIZE(types)];
		if (op->type == OP_BATCH)
			op->access[i].type = kind & 1 ? ACCESS_STORE : ACCESS_ADD;
	}
	if (how & 0x80) {
		op->flags |= OP_FENCE;
		op->access[op->access_count - 1].type = ACCESS_STORE;
	}
}

static enum sim_advice take_advice(struct taker *t)
{
	static const enum sim_advice advices[] = {
		SIM_ADVICE_DONTNEED,	  SIM_ADVICE_DONTNEED,	     SIM_ADVICE_FREE,
		SIM_ADVICE_HUGEPAGE,	  SIM_ADVICE_NOHUGEPAGE,     SIM_ADVICE_COLLAPSE,
		SIM_ADVICE_POPULATE_READ, SIM_ADVICE_POPULATE_WRITE, SIM_ADVICE_PAGEOUT,
		SIM_ADVICE_GUARD_INSTALL, SIM_ADVICE_GUARD_REMOVE,   SIM_ADVICE_DONTFORK,
		SIM_ADVICE_DOFORK,
	};
	enum sim_advice advice = advices[fuzz_take8(&t->in) % ARRAY_SIZE(advices)];

	if (t->wipes && advice == SIM_ADVICE_DONTFORK)
		return SIM_ADVICE_WIPEONFORK;
	if (t->wipes && advice == SIM_ADVICE_DOFORK)
		return SIM_ADVICE_KEEPONFORK;
	return advice;
}

static void take_call(struct taker *t, struct op *op, uint32_t bits)
{
	take_span(&t->in, op);
	switch (op->type) {
	case OP_MMAP:
		op->detail = SYS_PROT_READ | (bits & 1 ? 0 : SYS_PROT_WRITE);
		op->flags |= (bits & 2 ? OP_NOREPLACE : 0) | (bits & 4 ? OP_SHARED : 0);
		break;
	case OP_MPROTECT:
		op->detail = SYS_PROT_READ | (bits & 1 ? 0 : SYS_PROT_WRITE);
		break;
	case OP_MREMAP:
		op->flags |= bits & 1 ? OP_DONTUNMAP : 0;
		break;
	case OP_MADVISE:
		op->detail = take_advice(t);
		break;
	case OP_MLOCK:
		op->flags |= bits & 1 ? OP_ON : 0;
		break;
	case OP_PREFETCH:
		op->flags |= bits & 1 ? 0 : OP_TO_DEVICE;
		break;
	default:
		break;
	}
}

static void take_op(struct taker *t, struct op *op)
{
	uint32_t bits;

	/* Not OP_BIND: the inputs that are kept mean what they did. */
	op->type = (enum op_type)(fuzz_take8(&t->in) % OP_BIND);
	bits = fuzz_take8(&t->in);
	op->thread = bits % t->threads;
	bits >>= 4;
	switch (op->type) {
	case OP_FORK:
		op->flags |= (bits & 1 ? OP_RAW : 0) | (bits & 2 ? OP_UNMAPS : 0);
		take_accesses(&t->in, op, 3);
		break;
	case OP_KERNEL:
	case OP_BATCH:
		take_accesses(&t->in, op, 3);
		break;
	case OP_VM:
		op->flags |= bits == 1 ? OP_READ_ONLY : 0;
		break;
	case OP_DEVICE:
		op->flags |= bits & 1 ? OP_OWN : 0;
		break;
	case OP_LOAD:
	case OP_STORE:
	case OP_ADD:
	case OP_EXCHANGE:
	case OP_READ_CALL:
	case OP_WRITE_CALL:
	case OP_PIN:
	case OP_QUERY:
		op->addr = take_word(&t->in);
		break;
	default:
		take_call(t, op, bits);
	}
}

static size_t take_switches(struct fuzz_input *in, uint32_t count, struct sim_switch *switches)
{
	uint64_t step = 0;

	for (uint32_t i = 0; i < count; i++) {
		step += 1 + fuzz_take(in, 2) % 4096;
		switches[i].step = step;
		switches[i].thread = fuzz_take8(in) % 10;
	}
	return count;
}

static size_t take_ops(struct taker *t, struct op *ops)
{
	size_t count = 0;

	for (; count < FIRST_OPS; count++)
		ops[count] = (struct op){
			.type = OP_MMAP,
			.addr = PLAY_START + count * HUGE_BYTES,
			.bytes = HUGE_BYTES,
			.detail = SYS_PROT_READ | SYS_PROT_WRITE,
		};
	while (count < OPS_MAX && t->in.left) {
		size_t part = MIN(t->in.left, OP_BYTES);
		struct taker one = *t;

		one.in.left = part;
		ops[count] = (struct op){ 0 };
		take_op(&one, &ops[count++]);
		t->in.at += part;
		t->in.left -= part;
	}
	for (size_t i = 0; i < count; i++)
		ops[i].number = (uint32_t)i;
	return count;
}

static const struct profile *take_profile(struct fuzz_input *in)
{
	const struct profile *profile = plan_profile_get(fuzz_take8(in) % 6);

	return profile ? profile : plan_profile_get(0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	static struct op ops[OPS_MAX];
	static bool began[OPS_MAX];
	static struct run_result result;
	static struct sim_switch switches[SWITCHES_MAX];
	struct taker t = { .in = { bytes, count } };
	const struct profile *profile = take_profile(&t.in);
	uint64_t seed = fuzz_take(&t.in, 2);
	uint32_t how = fuzz_take8(&t.in);
	struct run_spec spec = {
		.began = began,
		.steps_max = STEPS_MAX,
		.check = true,
	};
	struct plan setting, plan;

	FUZZ_CHECK(!plan_create(seed, profile, 1, &setting), "no memory");
	spec.schedule_count = take_switches(&t.in, how % (SWITCHES_MAX + 1), switches);
	spec.schedule = spec.schedule_count ? switches : NULL;
	t.wipes = how & 0x80;
	t.threads = setting.setting.threads;
	plan = setting;
	plan.ops = ops;
	plan.count = take_ops(&t, ops);
	spec.plan = &plan;
	run_plan(&spec, &result, NULL, NULL);
	if (result.failed) {
		char line[512];

		for (size_t i = 0; i < plan.count; i++) {
			op_format(&ops[i], line, sizeof(line));
			fprintf(stderr, "%3zu %s %s\n", i, began[i] ? " " : "-", line);
		}
	}
	plan_destroy(&setting);
	FUZZ_CHECK(!result.failed, "%s", result.text);
	return 0;
}
