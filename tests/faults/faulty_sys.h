/* SPDX-License-Identifier: MIT */
/*
 * tests/faults/faulty_sys.h - the real kernel, on order a failing one.
 *
 * The table of src/sys with a wrapper for each call of tests/support/fault_table.h: it
 * counts, and on order fails without having asked the kernel. It is put in the place of
 * the real one by the linker: -Wl,--wrap=sys_linux_open.
 */
#ifndef TESTS_FAULTS_FAULTY_SYS_H
#define TESTS_FAULTS_FAULTY_SYS_H

#include <stdbool.h>
#include <stdint.h>

/** faulty_sys_order() - the @nth call from now of @name fails, alone or @for_ever; @error
 * 0 takes it back. Return: false: there is no such call. */
bool faulty_sys_order(const char *name, uint64_t nth, int error, bool for_ever);

/** faulty_sys_calls() - so far; 0 where there is no such call */
uint64_t faulty_sys_calls(const char *name);

#endif
