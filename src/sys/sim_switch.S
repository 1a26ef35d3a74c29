/* SPDX-License-Identifier: MIT */
/*
 * DOC: from one stack to another
 *
 * sim_switch(save, to): leave the registers that a call preserves on this stack, its
 * address in *save, and take them from the stack @to. The C library's swapcontext() makes
 * a system call each time; this is a dozen instructions.
 *
 * A new thread's stack is made to look as if it had been left in the middle of one, with
 * sim_switch_start as the place to return to and the thread's argument in rbx.
 */
	.text
	.globl	sim_switch
	.hidden	sim_switch
	.type	sim_switch, @function
	.p2align 4
sim_switch:
	endbr64
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret
	.size	sim_switch, . - sim_switch

	.globl	sim_switch_start
	.hidden	sim_switch_start
	.type	sim_switch_start, @function
	.p2align 4
sim_switch_start:
	endbr64
	xorl	%ebp, %ebp
	movq	%rbx, %rdi
	call	sim_thread_main
	ud2
	.size	sim_switch_start, . - sim_switch_start

	.section .note.GNU-stack, "", @progbits
