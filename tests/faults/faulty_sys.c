/* SPDX-License-Identifier: MIT */
/*
 * DOC: a failing kernel
 *
 * Everything here is in the image that the library is linked into, which never migrates.
 */
#include "faults/faulty_sys.h"

#include <string.h>

#include "base/host.h"
#include "sys/sys.h"

/* Calls that the table of faults may name, and their parameters. */
#define CALLS(X)                                                                            \
	X(uffd_open, (struct sys *sys, int *uffd), (sys, uffd))                             \
	X(uffd_register, (struct sys *sys, int uffd, struct span span, uint32_t mode),      \
	  (sys, uffd, span, mode))                                                          \
	X(uffd_unregister, (struct sys *sys, int uffd, struct span span), (sys, uffd, span)) \
	X(uffd_writeprotect, (struct sys *sys, int uffd, struct span span, bool on),        \
	  (sys, uffd, span, on))                                                            \
	X(exclusions, (struct sys *sys, struct span *spans, size_t max, size_t *count),     \
	  (sys, spans, max, count))                                                         \
	X(wiped_on_fork, (struct sys *sys, struct span *spans, size_t max, size_t *count),  \
	  (sys, spans, max, count))                                                         \
	X(madvise_in_flight, (struct sys *sys, bool *busy), (sys, busy))                    \
	X(map, (struct sys *sys, uint64_t bytes, uint64_t align, uint64_t hint,             \
		uint64_t *addr), (sys, bytes, align, hint, addr))                           \
	X(advise, (struct sys *sys, struct span span, enum sys_advice advice),              \
	  (sys, span, advice))                                                              \
	X(empty, (struct sys *sys, struct span span), (sys, span))                          \
	X(thread_create, (struct sys *sys, const struct sys_thread_attr *attr,              \
			  struct sys_thread **thread), (sys, attr, thread))                 \
	X(keeper_start, (struct sys *sys, void (*run)(void *arg), void *arg,                \
			 struct sys_keeper **keeper), (sys, run, arg, keeper))              \
	X(fork_hooks, (struct sys *sys, const struct sys_fork_hooks *hooks), (sys, hooks))  \
	X(check_signal_handlers, (struct sys *sys), (sys))

enum call {
#define NUMBER(name, ...) CALL_##name,
	CALLS(NUMBER)
#undef NUMBER
	CALL_uffd_move,
	CALL_uffd_copy,
	CALL_uffd_zeropage,
	CALL_pages_alloc,
	CALL_COUNT,
};

static const char *const names[CALL_COUNT] = {
#define NAME(name, ...) [CALL_##name] = #name,
	CALLS(NAME)
#undef NAME
	[CALL_uffd_move] = "uffd_move",
	[CALL_uffd_copy] = "uffd_copy",
	[CALL_uffd_zeropage] = "uffd_zeropage",
	[CALL_pages_alloc] = "pages_alloc",
};

struct order {
	uint64_t calls;
	uint64_t nth; /* 0: none */
	int error;
	bool for_ever;
};

static struct order orders[CALL_COUNT];
static const struct sys_ops *real_ops;
static const struct base_host_ops *real_host;

int __real_sys_linux_open(const char *feature_mask, struct sys **sys);
int __wrap_sys_linux_open(const char *feature_mask, struct sys **sys);

static struct order *order_of(const char *name)
{
	for (size_t i = 0; i < CALL_COUNT; i++) {
		if (strcmp(names[i], name) == 0)
			return &orders[i];
	}
	return NULL;
}

bool faulty_sys_order(const char *name, uint64_t nth, int error, bool for_ever)
{
	struct order *order = order_of(name);

	if (!order)
		return false;
	order->error = error;
	order->for_ever = for_ever;
	__atomic_store_n(&order->nth,
			 error ? __atomic_load_n(&order->calls, __ATOMIC_RELAXED) + nth : 0,
			 __ATOMIC_RELEASE);
	return true;
}

uint64_t faulty_sys_calls(const char *name)
{
	const struct order *order = order_of(name);

	return order ? __atomic_load_n(&order->calls, __ATOMIC_RELAXED) : 0;
}

/* Return: -errno of this call; 0: the kernel is asked. */
static int enter(enum call call)
{
	struct order *order = &orders[call];
	uint64_t number = __atomic_add_fetch(&order->calls, 1, __ATOMIC_RELAXED);
	uint64_t nth = __atomic_load_n(&order->nth, __ATOMIC_ACQUIRE);

	if (!nth || number < nth || (number > nth && !order->for_ever))
		return 0;
	return -order->error;
}

#define WRAPPER(name, parameters, arguments)                       \
	static int faulty_##name parameters                        \
	{                                                          \
		int err = enter(CALL_##name);                      \
                                                                   \
		return err ? err : real_ops->name arguments;       \
	}

CALLS(WRAPPER)

static int faulty_uffd_move(struct sys *sys, int uffd, uint64_t dst, uint64_t src,
			    uint64_t bytes, uint32_t flags, uint64_t *moved)
{
	int err = enter(CALL_uffd_move);

	*moved = 0;
	return err ? err : real_ops->uffd_move(sys, uffd, dst, src, bytes, flags, moved);
}

static int faulty_uffd_copy(struct sys *sys, int uffd, uint64_t dst, uint64_t src,
			    uint64_t bytes, uint64_t *copied)
{
	int err = enter(CALL_uffd_copy);

	*copied = 0;
	return err ? err : real_ops->uffd_copy(sys, uffd, dst, src, bytes, copied);
}

static int faulty_uffd_zeropage(struct sys *sys, int uffd, struct span span, uint64_t *done)
{
	int err = enter(CALL_uffd_zeropage);

	*done = 0;
	return err ? err : real_ops->uffd_zeropage(sys, uffd, span, done);
}

static void *faulty_pages_alloc(size_t bytes)
{
	return enter(CALL_pages_alloc) ? NULL : real_host->pages_alloc(bytes);
}

int __wrap_sys_linux_open(const char *feature_mask, struct sys **sys)
{
	static struct sys_ops ops;
	static struct base_host_ops host;
	int err;

	if (real_host) /* it installs the table that it knows */
		base_host = real_host;
	err = __real_sys_linux_open(feature_mask, sys);
	real_host = base_host;
	host = *real_host;
	host.pages_alloc = faulty_pages_alloc;
	base_host = &host;
	if (err)
		return err;
	if (!real_ops)
		real_ops = (*sys)->ops;
	ops = *real_ops;
#define REPLACE(name, ...) ops.name = faulty_##name;
	CALLS(REPLACE)
#undef REPLACE
	ops.uffd_move = faulty_uffd_move;
	ops.uffd_copy = faulty_uffd_copy;
	ops.uffd_zeropage = faulty_uffd_zeropage;
	(*sys)->ops = &ops;
	return 0;
}
