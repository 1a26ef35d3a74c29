/* SPDX-License-Identifier: MIT */
/*
 * tests/support/fault_table.h - what can be ordered to fail, and how.
 *
 * Calls of struct sys_ops and "pages_alloc" with the errors that the kernel gives there for
 * lack of something; behind them those of a device (tests/device/faulty.h). Errors that
 * tell the truth about memory (-ENOENT, -EEXIST) are not here: a kernel that told them
 * wrongly would be another. They come from the random programs.
 */
#ifndef TESTS_SUPPORT_FAULT_TABLE_H
#define TESTS_SUPPORT_FAULT_TABLE_H

#include <errno.h>
#include <stdbool.h>

struct fault {
	const char *call;
	int error;
	bool once_only; /* "again" for ever is a kernel that hangs */
	bool device;    /* of tests/device/faulty.h; else of the kernel */
	const char *ends;    /* the process ends with these words */
	const char *may_end; /* it may, when the call fails for ever */
	bool loses; /* when it fails for ever, contents of pages are lost: SIGBUS */
};

/* docs/errors.md: what ends the process, for the contents are nowhere else; the first where
 * the kernel cannot poison pages. */
#define FAULT_LOST "usvm: the device cannot give its pages back"
#define FAULT_STUCK "usvm: a page on the device cannot come home"

static const struct fault fault_table[] = {
	{ .call = "pages_alloc", .error = ENOMEM },
	{ .call = "uffd_open", .error = EMFILE },
	{ .call = "uffd_open", .error = EPERM },
	{ .call = "uffd_register", .error = ENOMEM },
	{ .call = "uffd_register", .error = EBUSY },
	{ .call = "uffd_unregister", .error = ENOMEM, .once_only = true },
	{ .call = "uffd_move", .error = ENOMEM, .once_only = true },
	{ .call = "uffd_move", .error = EBUSY, .once_only = true },
	{ .call = "uffd_move", .error = EAGAIN, .once_only = true },
	{ .call = "uffd_copy", .error = ENOMEM, .may_end = FAULT_STUCK },
	{ .call = "uffd_copy", .error = EAGAIN, .once_only = true },
	{ .call = "uffd_zeropage", .error = ENOMEM, .once_only = true },
	{ .call = "uffd_zeropage", .error = EAGAIN, .once_only = true },
	{ .call = "uffd_writeprotect", .error = EAGAIN, .once_only = true },
	{ .call = "exclusions", .error = ENOMEM },
	{ .call = "wiped_on_fork", .error = ENOMEM },
	{ .call = "madvise_in_flight", .error = ENOMEM },
	{ .call = "map", .error = ENOMEM },
	{ .call = "advise", .error = ENOMEM },
	{ .call = "advise", .error = EAGAIN, .once_only = true },
	{ .call = "empty", .error = EOPNOTSUPP },
	{ .call = "thread_create", .error = EAGAIN },
	{ .call = "keeper_start", .error = EAGAIN },
	{ .call = "fork_hooks", .error = ENOMEM },
	{ .call = "check_signal_handlers", .error = ENOMEM },
	{ .call = "copy_to_device", .error = EIO, .device = true },
	{ .call = "copy_home", .error = EIO, .device = true, .loses = true,
	  .may_end = FAULT_LOST },
	{ .call = "copy_peer", .error = EIO, .device = true },
	{ .call = "vm_create", .error = ENOMEM, .device = true },
	{ .call = "pt_prepare", .error = ENOMEM, .device = true },
	{ .call = "fault_twice", .error = EIO, .device = true },
	{ .call = "fault_late", .error = EIO, .device = true },
	{ .call = "fault_again", .error = EIO, .device = true },
	{ .call = "answer_lost", .error = EIO, .once_only = true, .device = true },
};

/* What a call of usvm may return, and a job may end with, where a call failed. */
static inline bool fault_is_documented(int err)
{
	switch (-err) {
	case EAGAIN:
	case EBUSY:
	case ECANCELED:
	case EIO:
	case EMFILE:
	case ENODEV:
	case ENOMEM:
	case ENOSPC:
	case EOPNOTSUPP:
	case EPERM:
		return true;
	default:
		return false;
	}
}

#endif
