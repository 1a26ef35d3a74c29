/* SPDX-License-Identifier: MIT */
/*
 * tests/device/faulty.h - the model GPU, on order a bad one.
 *
 * Between usvm and the model GPU stands a table that counts calls and lets the Nth of a
 * kind go wrong as devices do: operations fail, faults are raised twice, too late, or long
 * after they were answered, answers are lost and asked for again. Without an order it
 * changes nothing, not even the schedule of a simulation.
 *
 * A program that is linked with the layers has it by the linker: -Wl,--wrap=gpu_ops.
 */
#ifndef TESTS_DEVICE_FAULTY_H
#define TESTS_DEVICE_FAULTY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum faulty_call {
	FAULTY_COPY_TO,      /* copy() to the device fails, half done */
	FAULTY_COPY_HOME,    /* copy() from it */
	FAULTY_COPY_PEER,    /* copy_peer() fails, half done */
	FAULTY_VM_CREATE,
	FAULTY_PT_PREPARE,
	FAULTY_FAULT_TWICE,  /* a fault and its twin are raised together */
	FAULTY_FAULT_LATE,   /* a fault waits in the device for some time */
	FAULTY_FAULT_AGAIN,  /* a twin of it is raised later, whatever became of the first */
	FAULTY_ANSWER_LOST,  /* fault_done() reaches nobody: the same fault is raised again */
	FAULTY_CALLS,
};

const char *faulty_name(enum faulty_call call);

/** faulty_order() - from now on the @nth of @call goes wrong, alone or @for_ever. @error:
 * what the first five return; the others want it not 0. 0: the order is taken back.
 * Before the device is opened. */
void faulty_order(enum faulty_call call, uint64_t nth, int error, bool for_ever);

/** faulty_calls() - so far; those that went wrong too */
uint64_t faulty_calls(enum faulty_call call);

/** faulty_complaint() - what usvm did with a fault that it may not; NULL: nothing */
const char *faulty_complaint(void);

#endif
