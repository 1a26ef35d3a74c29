/* SPDX-License-Identifier: MIT */
/*
 * DOC: fixed scripts, each named as what the kernel does
 *
 * What they claim is not asserted: it is what the real kernel answers, and the simulated one
 * has to answer the same. That a script still shows its subject is for who changes it.
 */
#include "base/compiler.h"
#include "script.h"

static const struct {
	const char *name;
	const char *text;
} scripts[] = {
	{ "a_fault_waits_until_its_page_is_copied",
	  "t0 mmap P0:0+4 read,write\n"
	  "m register u0 P0:0+4 missing\n"
	  "t0 load P0:1+1\n"
	  "m read u0\n"
	  "m copy u0 P0:1+1 17\n"
	  "t0 store P0:1+1 18\n"
	  "m read u0\n" },
	{ "munmap_waits_until_it_is_read_and_is_done_before",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 store P0:2+1 5\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 munmap P0:1+4\n"
	  "m zeropage u0 P0:8+1\n"
	  "m read u0\n"
	  "m zeropage u0 P0:8+1\n"
	  "m read u0\n" },
	{ "mremap_sends_remap_and_then_unmap",
	  "t0 mmap P0:0+4 read,write\n"
	  "t0 store P0:1+1 7\n"
	  "m register u0 P0:0+4 missing\n"
	  "t0 mremap P0:0+4 P1:0+4 maymove,fixed\n"
	  "m read u0\n"
	  "m read u0\n"
	  "t0 load P1:1+1\n"
	  "t0 load P0:1+1\n" },
	{ "a_child_has_a_userfaultfd_of_its_own",
	  "t0 mmap P0:0+4 read,write\n"
	  "t0 store P0:0+1 3\n"
	  "m register u0 P0:0+4 missing\n"
	  "t0 fork\n"
	  "m read u0\n"
	  "c0 load P0:0+1\n"
	  "c0 load P0:1+1\n"
	  "m read u0\n"
	  "m read u1\n"
	  "m copy u1 P0:1+1 9\n"
	  "t0 load P0:1+1\n"
	  "m move u0 A0:0+1 P0:0+1 none\n"
	  "c0 exit\n"
	  "m read u1\n" },
	{ "a_move_stops_and_says_where",
	  "t0 mmap P0:0+8 read,write\n"
	  "t0 store P0:0+1 1\n"
	  "t0 store P0:1+1 2\n"
	  "m register u0 A0:0+8 wp,missing\n"
	  "m move u0 A0:0+4 P0:0+4 none\n"
	  "m move u0 A0:0+1 P0:2+1 none\n"
	  "m move u0 A0:2+2 P0:2+2 none\n"
	  "m move u0 A0:2+2 P0:2+2 holes\n" },
};

const char *script_fixed(size_t number, const char **name)
{
	if (number >= ARRAY_SIZE(scripts))
		return NULL;
	*name = scripts[number].name;
	return scripts[number].text;
}
