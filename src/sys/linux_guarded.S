/* SPDX-License-Identifier: MIT */
/*
 * DOC: guarded code
 *
 * Every instruction by which the library touches the program's memory. Each
 * function is a leaf that uses neither stack nor callee-saved registers, so one
 * fix-up serves them all: the signal handler puts a negative errno into rax and
 * continues at linux_guarded_fixup, which returns to whoever called.
 *
 * A table tells where that is allowed: from the start of a function to its
 * access, that instruction included. When the program counter is behind it,
 * the access has been done, and to say -EINTR then would make the caller do it
 * again.
 *
 *     name:  endbr64
 *            cmpl $0, (kicked)      <- a kick here, or
 *            jne  .Lkicked          <- here, or
 *            lock xadd ...          <- here: not done, fix up
 *            xorl %eax, %eax        <- here: done; the next access is told
 *            ret
 *
 * Calls (System V): rdi is the address, then rsi and rdx; the last argument,
 * rcx, points to the thread's "kicked" word. It is looked at in the part that
 * the table names: a kick that comes before has set the word, and one that
 * comes later finds the program counter there. There is no third case.
 *
 * Results: rax is 0 or -errno, rdx the value. No sanitizer instruments this.
 */
#include "sys/linux_guarded.h"

#define EINTR 4

	.macro	guarded name
	.globl	\name
	.hidden	\name
	.type	\name, @function
	.p2align 4
\name:
	endbr64
	cmpl	$0, (%rcx)
	jne	.Lkicked
	.endm

	/* Behind the access. */
	.macro	accessed name
	.pushsection .rodata.linux_guarded, "a", @progbits
	.long	\name - linux_guarded_table
	.long	.Laccessed_\name - linux_guarded_table
	.popsection
.Laccessed_\name:
	.endm

	.macro	done name
	xorl	%eax, %eax
	ret
	.size	\name, . - \name
	.endm

	.section .rodata.linux_guarded, "a", @progbits
	.globl	linux_guarded_table
	.hidden	linux_guarded_table
	.p2align 2
linux_guarded_table:

	.text
	.cfi_startproc
	/* load(addr, -, -, kicked) */
guarded linux_guarded_load1
	movzbl	(%rdi), %edx
accessed linux_guarded_load1
done linux_guarded_load1

guarded linux_guarded_load2
	movzwl	(%rdi), %edx
accessed linux_guarded_load2
done linux_guarded_load2

guarded linux_guarded_load4
	movl	(%rdi), %edx
accessed linux_guarded_load4
done linux_guarded_load4

guarded linux_guarded_load8
	movq	(%rdi), %rdx
accessed linux_guarded_load8
done linux_guarded_load8

	/* store(addr, value, -, kicked) */
guarded linux_guarded_store1
	movb	%sil, (%rdi)
accessed linux_guarded_store1
done linux_guarded_store1

guarded linux_guarded_store2
	movw	%si, (%rdi)
accessed linux_guarded_store2
done linux_guarded_store2

guarded linux_guarded_store4
	movl	%esi, (%rdi)
accessed linux_guarded_store4
done linux_guarded_store4

guarded linux_guarded_store8
	movq	%rsi, (%rdi)
accessed linux_guarded_store8
done linux_guarded_store8

	/* add(addr, value, -, kicked): the value before */
guarded linux_guarded_add4
	movl	%esi, %edx
	lock xaddl %edx, (%rdi)
accessed linux_guarded_add4
done linux_guarded_add4

guarded linux_guarded_add8
	movq	%rsi, %rdx
	lock xaddq %rdx, (%rdi)
accessed linux_guarded_add8
done linux_guarded_add8

	/* exchange(addr, value, -, kicked): the value before */
guarded linux_guarded_exchange4
	movl	%esi, %edx
	xchgl	%edx, (%rdi)
accessed linux_guarded_exchange4
done linux_guarded_exchange4

guarded linux_guarded_exchange8
	movq	%rsi, %rdx
	xchgq	%rdx, (%rdi)
accessed linux_guarded_exchange8
done linux_guarded_exchange8

	/* compare_exchange(addr, value, expected, kicked): the value before */
guarded linux_guarded_compare_exchange4
	movl	%edx, %eax
	lock cmpxchgl %esi, (%rdi)
accessed linux_guarded_compare_exchange4
	movl	%eax, %edx
done linux_guarded_compare_exchange4

guarded linux_guarded_compare_exchange8
	movq	%rdx, %rax
	lock cmpxchgq %rsi, (%rdi)
accessed linux_guarded_compare_exchange8
	movq	%rax, %rdx
done linux_guarded_compare_exchange8

	/* copy(to, from, bytes, kicked) */
guarded linux_guarded_copy
	movq	%rdx, %rcx
	rep movsb
accessed linux_guarded_copy
done linux_guarded_copy

.Lkicked:
	movq	$-EINTR, %rax
	ret
	.cfi_endproc

	.section .rodata.linux_guarded, "a", @progbits
	.globl	linux_guarded_table_end
	.hidden	linux_guarded_table_end
linux_guarded_table_end:

	.text
	.globl	linux_guarded_fixup
	.hidden	linux_guarded_fixup
	.type	linux_guarded_fixup, @function
linux_guarded_fixup:
	.cfi_startproc
	ret
	.cfi_endproc
	.size	linux_guarded_fixup, . - linux_guarded_fixup

/*
 * Handlers, one for each number of actions behind it (linux_signal.c), 32 bytes
 * apart. The kernel calls a handler with the stack pointer right below the
 * ucontext. Whoever else calls it (a program's handler that passes on what is
 * not its own) does not, and that is how linux_signal_handle() tells the two
 * apart.
 */
	.globl	linux_signal_entries
	.hidden	linux_signal_entries
	.type	linux_signal_entries, @function
	.p2align 5
linux_signal_entries:
	.cfi_startproc
	.set	behind, 1
	.rept	LINUX_SIGNAL_ENTRY_COUNT
	endbr64
	leaq	8(%rsp), %rcx
	movl	$behind, %r8d
	jmp	linux_signal_handle
	.p2align 5
	.set	behind, behind + 1
	.endr
	.cfi_endproc
	.size	linux_signal_entries, . - linux_signal_entries

	/* Where a handler returns to: rt_sigreturn(2). Debuggers know the bytes. */
	.globl	linux_signal_return
	.hidden	linux_signal_return
	.type	linux_signal_return, @function
	.p2align 4
	nop
linux_signal_return:
	movq	$15, %rax
	syscall
	.size	linux_signal_return, . - linux_signal_return

	.section .note.GNU-stack, "", @progbits
