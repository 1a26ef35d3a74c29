/* SPDX-License-Identifier: MIT */
/*
 * DOC: SIGSEGV and SIGBUS
 *
 * Two things here are ours, and all else is the program's:
 *
 *  - a fault in guarded code: go to the fix-up with -EFAULT;
 *  - a kick (tgkill by this process at a thread of the library): in guarded
 *    code go to the fix-up with -EINTR, elsewhere leave a note for the next
 *    guarded access.
 *
 * What is not ours goes to the handler that was there before, as the kernel
 * would have called it. Programs change handlers at any time, and
 * check_signal_handlers() then puts ours in front again, so there may be
 * several from before: a stack, with the latest on top. A handler that was
 * installed while ours was there knows ours as "the one before", and may call
 * it with what it does not want, or put it back one day. Therefore ours is not
 * one function but several: entry n is the one with n actions behind it, and
 * passes on to the n-th.
 *
 *     kernel -> entry 2 -> P, installed last -> entry 1 -> the one from before
 *
 * A call that comes back to where it has been (P was installed twice, and
 * found ours before itself) goes on one below, as long as it is about the same
 * signal. Nothing has to be undone when a handler leaves by siglongjmp().
 *
 * Handlers read a stack while check_signal_handlers() makes the next one: each
 * change goes to a new version, published by its index. The number of versions
 * is how many changes a handler may oversleep.
 */
#include <errno.h>
#include <signal.h>
#include <ucontext.h>

#include "sys/linux_abi.h"
#include "sys/linux_guarded.h"
#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

#define STACK_MAX LINUX_SIGNAL_ENTRY_COUNT
#define VERSION_COUNT 16
#define SIGSET_BYTES 8

struct action_stack {
	struct abi_sigaction actions[STACK_MAX]; /* handler: atomic */
	uint32_t count;
};

struct chain {
	int number;
	bool is_restored; /* closed, with the top of the stack put back */
	uint32_t current; /* atomic: an index into versions */
	struct action_stack versions[VERSION_COUNT];
};

static struct chain chains[] = {
	{ .number = SIGSEGV },
	{ .number = SIGBUS },
};

static uint32_t changing; /* atomic: 1 while somebody looks at the handlers */

static uint64_t set_of(int number)
{
	return 1ull << (number - 1);
}

static int64_t get_action(int number, struct abi_sigaction *action)
{
	return linux_call(SYS_rt_sigaction, number, NULL, action, SIGSET_BYTES);
}

static int64_t set_action(int number, const struct abi_sigaction *action)
{
	return linux_call(SYS_rt_sigaction, number, action, NULL, SIGSET_BYTES);
}

/* --- in the handler ------------------------------------------------------ */

static void to_fixup(ucontext_t *context, int64_t error)
{
	context->uc_mcontext.gregs[REG_RAX] = error;
	context->uc_mcontext.gregs[REG_RIP] = (int64_t)linux_guarded_fixup;
}

static bool is_guarded(uint64_t at)
{
	const struct guarded_entry *entry = linux_guarded_table;
	int64_t offset = (int64_t)(at - (uintptr_t)linux_guarded_table);

	for (; entry < linux_guarded_table_end; entry++) {
		if (offset >= entry->start && offset < entry->end)
			return true;
	}
	return false;
}

static bool handle_own(int number, const siginfo_t *info, ucontext_t *context)
{
	uint64_t at = (uint64_t)context->uc_mcontext.gregs[REG_RIP];
	bool guarded = is_guarded(at);

	if (number == SIGSEGV && info->si_code == SI_TKILL &&
	    linux_tls.base.is_library &&
	    info->si_pid == (pid_t)linux_call(SYS_getpid)) {
		if (guarded)
			to_fixup(context, -EINTR);
		else
			linux_tls.kicked = 1;
		return true;
	}
	if (guarded && info->si_code > 0) {
		to_fixup(context, -EFAULT);
		return true;
	}
	return false;
}

/* The default is to die. A fault does when it is repeated; what was sent from
 * somewhere has to be sent again, and arrives when the handler is left. */
static void act_by_default(int number, const siginfo_t *info)
{
	struct abi_sigaction action = {
		.handler = (uintptr_t)SIG_DFL,
		.flags = ABI_SA_RESTORER,
		.restorer = (uintptr_t)linux_signal_return,
	};

	set_action(number, &action);
	if (info->si_code <= 0)
		linux_call(SYS_tgkill, linux_call(SYS_getpid),
			   linux_call(SYS_gettid), number);
}

static void act(struct abi_sigaction *action, int number, siginfo_t *info,
		void *context)
{
	void (*handler)(int, siginfo_t *, void *);
	uint64_t address = ATOMIC_LOAD(&action->handler);
	uint64_t own = set_of(number);
	uint64_t before;

	if (action->flags & SA_RESETHAND)
		address = ATOMIC_EXCHANGE(&action->handler, 0);
	if (address == (uintptr_t)SIG_IGN && info->si_code <= 0)
		return;
	if (address == (uintptr_t)SIG_DFL || address == (uintptr_t)SIG_IGN) {
		act_by_default(number, info);
		return;
	}
	linux_call(SYS_rt_sigprocmask, SIG_BLOCK, &action->mask, &before,
		   SIGSET_BYTES);
	if (action->flags & SA_NODEFER && !(action->mask & own))
		linux_call(SYS_rt_sigprocmask, SIG_UNBLOCK, &own, NULL,
			   SIGSET_BYTES);
	handler = (void (*)(int, siginfo_t *, void *))address;
	handler(number, info, context);
	linux_call(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL,
		   SIGSET_BYTES);
}

static void pass_on(struct chain *chain, siginfo_t *info, void *context,
		    bool from_kernel, uint32_t behind)
{
	struct linux_tls *tls = &linux_tls;
	struct action_stack *stack =
		&chain->versions[ATOMIC_LOAD(&chain->current)];
	const void *outer_context = tls->chain_context;
	uint32_t outer_behind = tls->chain_behind;

	behind = MIN(behind, stack->count);
	if (!from_kernel && outer_context == context)
		behind = MIN(behind, outer_behind - 1);
	if (behind == 0) {
		act_by_default(chain->number, info);
		return;
	}
	tls->chain_context = context;
	tls->chain_behind = behind;
	act(&stack->actions[behind - 1], chain->number, info, context);
	tls->chain_context = outer_context;
	tls->chain_behind = outer_behind;
}

void linux_signal_handle(int number, siginfo_t *info, void *context,
			 const void *caller_frame, uint32_t behind)
{
	if (handle_own(number, info, context))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(chains); i++) {
		if (chains[i].number == number)
			pass_on(&chains[i], info, context,
				caller_frame == context, behind);
	}
}

/* --- installing ---------------------------------------------------------- */

/* The entry with @behind actions behind it. */
static uint64_t entry_of(uint32_t behind)
{
	return (uintptr_t)linux_signal_entries +
	       (behind - 1) * LINUX_SIGNAL_ENTRY_BYTES;
}

/* How many are behind @handler if it is one of ours, else 0. */
static uint32_t behind_of(uint64_t handler)
{
	for (uint32_t n = 1; n <= STACK_MAX; n++) {
		if (handler == entry_of(n))
			return n;
	}
	return 0;
}

/* What the stack becomes when @action was found in front. One that is in it
 * already ends it there: the program took back what it had put above. */
static void push(struct action_stack *stack, const struct abi_sigaction *action,
		 bool is_restored)
{
	uint32_t i;

	for (i = 0; i < stack->count; i++) {
		if (stack->actions[i].handler == action->handler)
			break;
	}
	if (i == stack->count && is_restored)
		i = 0; /* it never saw any of ours, nor those behind */
	if (i == STACK_MAX)
		i = 1; /* full: who was here first stays */
	stack->actions[i] = *action;
	stack->count = i + 1;
}

static int check(struct chain *chain)
{
	struct abi_sigaction ours = {
		.flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART | ABI_SA_RESTORER,
		.restorer = (uintptr_t)linux_signal_return,
	};
	uint32_t version = (chain->current + 1) % VERSION_COUNT;
	struct action_stack *stack = &chain->versions[version];
	struct abi_sigaction now;
	uint32_t behind;
	int64_t err = get_action(chain->number, &now);

	if (err)
		return (int)err;
	*stack = chain->versions[chain->current];
	behind = behind_of(now.handler);
	if (behind && behind == stack->count)
		return 0;
	if (behind)
		stack->count = MIN(stack->count, behind); /* put back */
	else
		push(stack, &now, chain->is_restored);
	chain->is_restored = false;

	/* In this order: a fault in between must find where to go. */
	ATOMIC_STORE(&chain->current, version);
	ours.handler = entry_of(stack->count);
	return (int)set_action(chain->number, &ours);
}

int linux_check_signal_handlers(struct sys *sys UNUSED)
{
	int err = 0;

	/* Whoever is at it does what we would do. */
	if (ATOMIC_EXCHANGE(&changing, 1))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(chains) && !err; i++)
		err = check(&chains[i]);
	ATOMIC_STORE(&changing, 0);
	return err;
}

/* At the last close, when no thread of the library is left. A handler of the
 * program that is in front of ours stays, and so does what is behind ours, for
 * that handler may still call it. */
void linux_signal_restore(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(chains); i++) {
		struct chain *chain = &chains[i];
		struct action_stack *stack = &chain->versions[chain->current];
		struct abi_sigaction now;

		if (get_action(chain->number, &now) ||
		    behind_of(now.handler) != stack->count)
			continue;
		set_action(chain->number, &stack->actions[stack->count - 1]);
		chain->is_restored = true;
	}
}

void linux_signal_forget(void)
{
	ATOMIC_STORE(&changing, 0);
}
