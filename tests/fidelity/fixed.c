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
	{ "a_fixed_mapping_is_there_before_its_message",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 mmap P0:2+4 read,write\n"
	  "t1 store P0:3+1 5\n"
	  "m read u0\n"
	  "t1 load P0:3+1\n" },
	{ "dontneed_zaps_after_its_message",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 store P0:2+1 5\n"
	  "m register u0 P0:0+16 wp\n"
	  "t0 madvise P0:2+1 dontneed\n"
	  "m in_flight\n"
	  "m read u0\n"
	  "m in_flight\n"
	  "t0 load P0:2+1\n" },
	{ "free_is_told_and_keeps_the_page",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 store P0:2+1 5\n"
	  "m register u0 P0:0+16 wp\n"
	  "t0 madvise P0:2+1 free\n"
	  "m read u0\n"
	  "t0 load P0:2+1\n"
	  "m move u0 P0:4+1 P0:2+1 none\n" },
	{ "remove_of_shared_memory_is_told",
	  "t0 mmap P0:0+4 read,write,shared\n"
	  "t0 store P0:1+1 5\n"
	  "m register u0 P0:0+4 wp\n"
	  "t0 madvise P0:0+4 remove\n"
	  "m read u0\n"
	  "t0 load P0:1+1\n" },
	{ "dontunmap_sends_remap_only",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 mremap P0:0+4 P1:0+4 maymove,fixed,dontunmap\n"
	  "m read u0\n"
	  "m read u0\n"
	  "t0 load P0:0+1\n"
	  "m read u0\n" },
	{ "a_cut_and_moved_end_is_told_behind_remap",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 mremap P0:0+8 P1:0+4 maymove,fixed\n"
	  "m read u0\n"
	  "m read u0\n"
	  "m read u0\n" },
	{ "one_unmap_tells_of_several_vmas",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+4 missing\n"
	  "m register u0 P0:8+4 missing\n"
	  "t0 munmap P0:0+16\n"
	  "m read u0\n"
	  "m read u0\n" },
	{ "nothing_is_told_of_rights_locks_and_guards",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp\n"
	  "t0 mprotect P0:0+2 read\n"
	  "t0 mlock P0:4+2\n"
	  "t0 madvise P0:8+2 guard_install\n"
	  "m read u0\n"
	  "t0 load P0:8+1\n" },
	{ "faults_are_read_before_messages",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 madvise P0:8+2 dontneed\n"
	  "t1 load P0:1+1\n"
	  "t2 store P0:2+1 4\n"
	  "m read u0\n"
	  "m read u0\n"
	  "m read u0\n"
	  "m read u0\n" },
	{ "everything_waits_while_a_message_is_not_read",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 munmap P0:14+2\n"
	  "m copy u0 P0:0+1 1\n"
	  "m zeropage u0 P0:1+1\n"
	  "m move u0 P0:2+1 P0:3+1 none\n"
	  "m protect u0 P0:0+4\n"
	  "m poison u0 P0:4+1\n"
	  "m register u0 P0:0+4 missing\n"
	  "m unregister u0 P0:4+4\n"
	  "m read u0\n"
	  "m copy u0 P0:0+1 1\n" },
	{ "an_address_is_used_anew_before_its_message_is_read",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 munmap P0:2+2\n"
	  "t1 mmap P0:2+2 read,write\n"
	  "m register u0 P0:2+2 missing\n"
	  "m read u0\n"
	  "t1 load P0:2+1\n"
	  "m read u0\n" },
	{ "a_sleeper_on_an_unmapped_page_is_not_woken",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 load P0:2+1\n"
	  "t1 munmap P0:2+1\n"
	  "m read u0\n"
	  "m read u0\n"
	  "m wake u0 P0:2+1\n" },
	{ "a_closed_userfaultfd_gives_zeros",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 load P0:2+1\n"
	  "t1 munmap P0:8+1\n"
	  "m close u0\n" },
	{ "unregistering_gives_zeros",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 load P0:2+1\n"
	  "m unregister u0 P0:0+16\n" },
	{ "a_wake_without_a_page_faults_again",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 load P0:2+1\n"
	  "m read u0\n"
	  "m wake u0 P0:2+1\n"
	  "m read u0\n"
	  "m zeropage u0 P0:2+1\n" },
	{ "eexist_wakes_nobody",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 load P0:2+1\n"
	  "m copy u0 P0:4+1 3\n"
	  "m copy u0 P0:4+1 4\n"
	  "m copy u0 P0:2+3 5\n"
	  "m copy u0 P0:2+1 6\n" },
	{ "move_wants_equal_rights_and_locks",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 store P0:0+1 1\n"
	  "m register u0 A0:0+8 wp,missing\n"
	  "t0 mprotect P0:0+1 read\n"
	  "m move u0 A0:0+1 P0:0+1 none\n"
	  "t0 mprotect P0:0+1 read,write,exec\n"
	  "m move u0 A0:0+1 P0:0+1 none\n"
	  "t0 mprotect P0:0+1 read,write\n"
	  "t0 mlock P0:0+1\n"
	  "m move u0 A0:0+1 P0:0+1 none\n"
	  "t0 munlock P0:0+1\n"
	  "m move u0 A0:0+1 P0:0+1 none\n" },
	{ "move_is_within_one_mapping_each",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 madvise P0:4+4 hugepage\n"
	  "t0 store P0:3+1 1\n"
	  "m register u0 A0:0+8 wp,missing\n"
	  "m move u0 A0:0+2 P0:3+2 none\n"
	  "m move u0 P0:0+1 A0:0+1 none\n" },
	{ "shared_memory_does_not_move",
	  "t0 mmap P0:0+4 read,write,shared\n"
	  "t0 store P0:1+1 5\n"
	  "m register u0 A0:0+8 wp,missing\n"
	  "m move u0 A0:1+1 P0:1+1 none\n" },
	{ "a_zero_page_moves",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 load P0:0+1\n"
	  "m register u0 A0:0+8 wp,missing\n"
	  "m move u0 A0:0+1 P0:0+1 none\n" },
	{ "pages_shared_by_fork_are_busy_until_written",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 store P0:0+1 1\n"
	  "m register u0 A0:0+8 wp,missing\n"
	  "t0 fork\n"
	  "m move u0 A0:0+1 P0:0+1 none\n"
	  "c0 exit\n"
	  "m move u0 A0:0+1 P0:0+1 none\n"
	  "t0 add P0:0+1 0\n"
	  "m move u0 A0:0+1 P0:0+1 none\n" },
	{ "move_does_not_overwrite_markers_and_copy_does",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 madvise P0:1+1 guard_install\n"
	  "m protect u0 P0:2+1\n"
	  "m poison u0 P0:3+1\n"
	  "m register u0 A0:0+8 wp,missing\n"
	  "m copy u0 A0:0+1 9\n"
	  "m move u0 P0:1+1 A0:0+1 none\n"
	  "m move u0 P0:2+1 A0:0+1 none\n"
	  "m zeropage u0 P0:1+1\n"
	  "m copy u0 P0:1+3 7\n" },
	{ "a_mark_is_what_the_page_was",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "m protect u0 P0:0+12\n"
	  "t0 mprotect P0:0+2 read\n"
	  "t0 madvise P0:2+1 guard_install\n"
	  "t0 madvise P0:3+1 guard_install\n"
	  "t0 madvise P0:3+1 guard_remove\n"
	  "t0 mprotect P0:0+2 read,write\n"
	  "t0 madvise P0:4+2 dontneed\n"
	  "m read u0\n"
	  "t0 madvise P0:6+2 free\n"
	  "m read u0\n"
	  "t0 mremap P0:8+2 P1:0+2 maymove,fixed\n"
	  "m read u0\n"
	  "m read u0\n"
	  "m unprotect u0 P0:2+1\n"
	  "m unprotect u0 P0:6+1\n"
	  "t0 load P0:6+1\n"
	  "m read u0\n"
	  "m zeropage u0 P0:6+1\n" },
	{ "who_sleeps_at_a_mark_sleeps_on_without_it",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 store P0:1+1 7\n"
	  "m register u0 A0:0+8 wp,missing\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "m move u0 A0:0+2 P0:0+2 holes\n"
	  "m protect u0 P0:0+2\n"
	  "t0 load P0:1+1\n"
	  "m read u0\n"
	  "m move u0 P0:1+1 A0:1+1 none\n"
	  "m unprotect u0 P0:1+1\n"
	  "m move u0 P0:1+1 A0:1+1 none\n"
	  "m read u0\n" },
	{ "a_child_inherits_marks",
	  "t0 mmap P0:0+4 read,write\n"
	  "m register u0 P0:0+4 wp,missing\n"
	  "m protect u0 P0:1+2\n"
	  "t0 fork\n"
	  "m read u0\n"
	  "m copy u1 P0:1+1 9\n"
	  "c0 load P0:1+1\n"
	  "c0 load P0:2+1\n"
	  "m read u1\n"
	  "m zeropage u1 P0:2+1\n"
	  "m unprotect u1 P0:2+1\n"
	  "m zeropage u1 P0:2+1\n"
	  "c0 exit\n"
	  "m read u1\n" },
	{ "move_drops_the_write_protection",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 store P0:0+1 1\n"
	  "m register u0 A0:0+8 wp,missing\n"
	  "m register u0 P0:0+16 wp\n"
	  "m protect u0 P0:0+1\n"
	  "m move u0 A0:0+1 P0:0+1 none\n" },
	{ "a_huge_page_moves_whole",
	  "t0 mmap P1:0+1024 read,write\n"
	  "t0 madvise P1:0+1024 hugepage\n"
	  "t0 store P1:3+1 5\n"
	  "m register u0 A0:0+1024 wp,missing\n"
	  "m move u0 A0:0+512 P1:0+512 none\n" },
	{ "a_huge_page_splits_for_a_part",
	  "t0 mmap P1:0+1024 read,write\n"
	  "t0 madvise P1:0+1024 hugepage\n"
	  "t0 store P1:3+1 5\n"
	  "m register u0 A0:0+1024 wp,missing\n"
	  "m move u0 A0:3+1 P1:3+1 none\n" },
	{ "a_huge_page_splits_off_its_place",
	  "t0 mmap P1:0+1024 read,write\n"
	  "t0 madvise P1:0+1024 hugepage\n"
	  "t0 store P1:3+1 5\n"
	  "m register u0 A0:0+1024 wp,missing\n"
	  "m move u0 A0:1+512 P1:0+512 none\n" },
	{ "a_huge_zero_page_moves",
	  "t0 mmap P1:0+512 read,write\n"
	  "t0 madvise P1:0+512 hugepage\n"
	  "t0 load P1:3+1\n"
	  "m register u0 A0:0+1024 wp,missing\n"
	  "m move u0 A0:0+512 P1:0+512 none\n" },
	{ "collapse_fills_no_registered_hole",
	  "t0 mmap P1:0+512 read,write\n"
	  "t0 madvise P1:0+512 populate_write\n"
	  "t0 madvise P1:5+1 dontneed\n"
	  "m register u0 P1:0+512 missing\n"
	  "t0 madvise P1:0+512 collapse\n"
	  "m copy u0 P1:5+1 1\n"
	  "t0 madvise P1:0+512 collapse\n" },
	{ "writes_to_protected_pages_wait_without_async",
	  "without wp_async\n"
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 store P0:0+1 1\n"
	  "m register u0 P0:0+16 wp\n"
	  "m protect u0 P0:0+1\n"
	  "t0 load P0:0+1\n"
	  "t0 store P0:0+1 2\n"
	  "m read u0\n"
	  "m unprotect u0 P0:0+1\n" },
	{ "writes_to_protected_pages_are_noted_with_async",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 store P0:0+1 1\n"
	  "m register u0 P0:0+16 wp\n"
	  "m protect u0 P0:0+2\n"
	  "t0 store P0:0+1 2\n"
	  "t0 store P0:1+1 2\n" },
	{ "poison_is_a_signal_until_it_is_overwritten",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "m poison u0 P0:1+1\n"
	  "t0 load P0:1+1\n"
	  "w access P0:1+1 read 0\n"
	  "m copy u0 P0:1+1 4\n"
	  "t0 load P0:1+1\n" },
	{ "rights_are_asked_before_the_userfaultfd",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 mprotect P0:0+2 none\n"
	  "t0 mprotect P0:2+2 read\n"
	  "t0 load P0:0+1\n"
	  "t0 store P0:2+1 1\n"
	  "m copy u0 P0:0+1 3\n"
	  "m copy u0 P0:2+1 4\n"
	  "t0 load P0:2+1\n" },
	{ "system_calls_wait_for_pages",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 copy_in P0:1+1\n"
	  "m read u0\n"
	  "m copy u0 P0:1+1 4\n"
	  "t0 mlock P0:2+1\n"
	  "m read u0\n"
	  "m zeropage u0 P0:2+1\n"
	  "t0 madvise P0:3+1 populate_write\n"
	  "m read u0\n"
	  "m zeropage u0 P0:3+1\n"
	  "m read u0\n" },
	{ "in_user_mode_only_system_calls_fail",
	  "without kernel_faults\n"
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 copy_in P0:1+1\n"
	  "t0 copy_out P0:1+1 3\n"
	  "t0 mlock P0:2+1\n"
	  "t0 madvise P0:3+1 populate_write\n"
	  "t0 load P0:4+1\n" },
	{ "without_fork_events_a_child_has_zeros",
	  "without event_fork\n"
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 fork\n"
	  "c0 load P0:1+1\n" },
	{ "a_wiped_child_faults_too",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 madvise P0:0+4 wipeonfork\n"
	  "m wiped\n"
	  "t0 fork\n"
	  "m read u0\n"
	  "c0 load P0:1+1\n"
	  "m read u1\n"
	  "m zeropage u1 P0:1+1\n" },
	{ "a_child_without_registered_memory_is_not_told",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 madvise P0:0+16 dontfork\n"
	  "t0 fork\n"
	  "c0 load P0:1+1\n" },
	{ "another_userfaultfd_is_refused",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "m open\n"
	  "m register u1 P0:4+1 missing\n"
	  "m unregister u1 P0:4+1\n"
	  "m move u1 P0:4+1 A0:0+1 none\n" },
	{ "a_split_mapping_cannot_be_moved_whole",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp\n"
	  "m register u0 P0:4+4 wp,missing\n"
	  "t0 mremap P0:0+16 P1:0+16 maymove,fixed\n"
	  "t0 mremap P0:0+16 P1:0+24 maymove\n"
	  "m register u0 P0:4+4 wp\n"
	  "m unregister u0 P0:4+4\n"
	  "m register u0 P0:4+4 wp\n"
	  "t0 mremap P0:0+16 P1:0+16 maymove,fixed\n"
	  "m read u0\n"
	  "m read u0\n" },
	{ "several_mappings_move_and_holes_leave_what_is_there",
	  "t0 mmap P0:0+4 read,write\n"
	  "t0 mmap P0:8+4 read\n"
	  "t0 store P0:1+1 5\n"
	  "t0 mmap P1:0+16 read,write\n"
	  "t0 store P1:1+1 7\n"
	  "t0 store P1:5+1 8\n"
	  "t0 store P1:9+1 9\n"
	  "m register u0 P1:0+16 wp,missing\n"
	  "t0 mremap P0:0+16 P1:0+16 maymove,fixed\n"
	  "m read u0\n"
	  "m read u0\n"
	  "m read u0\n"
	  "t0 load P1:1+1\n"
	  "t0 load P1:5+1\n"
	  "t0 load P1:9+1\n" },
	{ "several_mappings_move_up_to_one_that_is_registered",
	  "t0 mmap P0:0+4 read,write\n"
	  "t0 mmap P0:4+4 read\n"
	  "t0 mmap P0:8+4 read,write\n"
	  "t0 store P0:1+1 5\n"
	  "t0 store P0:9+1 6\n"
	  "m register u0 P0:8+4 wp,missing\n"
	  "t0 mremap P0:0+16 P1:0+16 maymove,fixed\n"
	  "t0 load P1:1+1\n"
	  "t0 load P0:9+1\n"
	  "t0 mremap P0:8+8 P2:0+8 maymove,fixed\n"
	  "t0 mremap P0:6+8 P2:0+8 maymove,fixed\n" },
	{ "several_mappings_move_with_dontunmap",
	  "t0 mmap P0:0+4 read,write\n"
	  "t0 mmap P0:8+4 read,write\n"
	  "t0 store P0:1+1 5\n"
	  "t0 mremap P0:0+16 P1:0+16 maymove,fixed,dontunmap\n"
	  "t0 load P0:1+1\n"
	  "t0 load P1:1+1\n"
	  "t0 mremap P0:0+16 P2:0+24 maymove,fixed\n"
	  "t0 mremap P0:6+6 P2:0+6 maymove,fixed\n" },
	{ "a_pinned_page_is_busy",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 store P0:1+1 5\n"
	  "m register u0 A0:0+8 wp,missing\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 pin P0:1+1\n"
	  "m move u0 A0:1+1 P0:1+1 none\n"
	  "t1 pin P0:2+1\n"
	  "m read u0\n"
	  "m copy u0 P0:2+1 6\n"
	  "m protect u0 P0:1+1\n"
	  "t0 store P0:1+1 7\n"
	  "t0 unpin\n"
	  "m move u0 A0:1+1 P0:1+1 none\n"
	  "t1 unpin\n"
	  "m move u0 A0:2+1 P0:2+1 none\n" },
	{ "a_pin_holds_a_huge_page_whole",
	  "t0 mmap P1:0+1024 read,write\n"
	  "t0 madvise P1:0+1024 hugepage\n"
	  "t0 store P1:3+1 5\n"
	  "m register u0 A0:0+1024 wp,missing\n"
	  "t0 pin P1:3+1\n"
	  "m move u0 A0:0+512 P1:0+512 none\n"
	  "m move u0 A0:5+1 P1:5+1 none\n"
	  "m move u0 A0:3+1 P1:3+1 none\n"
	  "t0 unpin\n"
	  "m move u0 A0:5+1 P1:5+1 none\n" },
	{ "a_pinned_page_is_copied_for_a_child",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 store P0:1+1 5\n"
	  "t0 store P0:2+1 6\n"
	  "m register u0 A0:0+8 wp,missing\n"
	  "t0 pin P0:1+1\n"
	  "t0 fork\n"
	  "c0 load P0:1+1\n"
	  "m move u0 A0:1+1 P0:1+1 none\n"
	  "t0 unpin\n"
	  "m move u0 A0:1+1 P0:1+1 none\n"
	  "m move u0 A0:2+1 P0:2+1 none\n" },
	{ "a_pin_of_a_shared_page_takes_a_copy",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 store P0:1+1 5\n"
	  "m register u0 A0:0+8 wp,missing\n"
	  "t0 fork\n"
	  "t0 pin P0:1+1\n"
	  "m move u0 A0:1+1 P0:1+1 none\n"
	  "t0 unpin\n"
	  "m move u0 A0:1+1 P0:1+1 none\n" },
	{ "a_pin_needs_rights_and_a_page",
	  "without kernel_faults\n"
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 mprotect P0:1+1 read\n"
	  "t0 pin P0:1+1\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 pin P0:2+1\n"
	  "t0 pin P1:0+1\n"
	  "m poison u0 P0:3+1\n"
	  "t0 pin P0:3+1\n" },
	{ "a_move_may_leave_sleepers_asleep",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 A0:0+8 wp,missing\n"
	  "m copy u0 A0:0+2 9\n"
	  "m register u0 P0:0+16 missing\n"
	  "t0 load P0:0+1\n"
	  "t1 load P0:1+1\n"
	  "m read u0\n"
	  "m read u0\n"
	  "m move u0 P0:0+1 A0:0+1 dontwake\n"
	  "m move u0 P0:1+1 A0:1+1 none\n"
	  "m wake u0 P0:0+1\n" },
	{ "what_stops_wakes_as_far_as_it_came",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "m copy u0 P0:2+1 3\n"
	  "t0 load P0:3+1\n"
	  "m read u0\n"
	  "m copy u0 P0:1+3 4\n"
	  "m read u0\n"
	  "m zeropage u0 P0:0+4\n"
	  "m poison u0 P0:0+4\n"
	  "m read u0\n"
	  "m copy u0 P0:3+1 5\n" },
	{ "poison_does_not_overwrite_markers",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 madvise P0:1+1 guard_install\n"
	  "m protect u0 P0:2+1\n"
	  "m poison u0 P0:1+1\n"
	  "m poison u0 P0:2+1\n"
	  "t0 load P0:3+1\n"
	  "m poison u0 P0:3+1\n" },
	{ "unregistering_drops_the_write_protection",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 store P0:1+1 5\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "m protect u0 P0:0+3\n"
	  "m unregister u0 P0:0+16\n"
	  "m register u0 P0:0+16 wp\n"
	  "t0 store P0:1+1 6\n" },
	{ "mappings_with_pages_of_their_own_do_not_join",
	  "t0 mmap P0:0+2 read,write\n"
	  "t0 mmap P0:4+2 read,write\n"
	  "t0 store P0:0+1 5\n"
	  "t0 store P0:4+1 6\n"
	  "t0 mmap P0:2+2 read,write\n"
	  "t0 mremap P0:0+6 P1:0+8 maymove,fixed\n" },
	{ "guards_stay_when_pages_go",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 store P0:2+1 5\n"
	  "t0 madvise P0:1+1 guard_install\n"
	  "t0 madvise P0:0+4 dontneed\n"
	  "t0 load P0:1+1\n"
	  "t0 madvise P0:0+4 guard_remove\n"
	  "t0 load P0:1+1\n" },
	{ "rights_change_up_to_a_hole",
	  "t0 mmap P0:0+4 read,write\n"
	  "t0 mmap P0:6+4 read,write\n"
	  "t0 mprotect P0:2+6 read\n"
	  "t0 madvise P0:2+6 dontneed\n"
	  "t0 mlock P0:2+6\n" },
	{ "mappings_join_where_one_changes_and_nowhere_else",
	  "t0 mmap P0:0+16 read,write\n"
	  "t1 mlock P0:7+2\n"
	  "t1 mremap P0:7+2 P0:0+2 maymove,fixed,dontunmap\n"
	  "t1 mmap P0:3+1 read,write\n"
	  "t1 mmap P0:8+1 read,write\n" },
	{ "a_dead_childs_userfaultfd_moves_nothing",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "t0 fork\n"
	  "m read u0\n"
	  "m move u1 P0:7+1 A0:5+1 none\n"
	  "c0 exit\n"
	  "m move u1 P0:7+1 A0:5+1 none\n"
	  "m copy u1 P0:7+1 3\n" },
	{ "a_locked_mapping_that_grows_is_filled",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 mlock P0:1+3\n"
	  "t0 mremap P0:1+1 P0:5+4 maymove,fixed\n"
	  "t0 mmap P1:0+4 read\n"
	  "t0 mlock P1:3+1\n"
	  "t0 mremap P1:3+1 P1:5+3 maymove,fixed\n" },
	{ "a_locked_mapping_that_may_be_written_now_is_filled",
	  "t0 mmap P0:0+16 read,write\n"
	  "t0 mprotect P0:2+12 read\n"
	  "t0 mlock P0:6+2\n"
	  "t0 mprotect P0:6+1 read,write\n"
	  "t0 mprotect P0:0+12 read,write\n"
	  "t0 mmap P1:0+8 none\n"
	  "t0 mlock P1:0+8\n"
	  "t0 mprotect P1:2+8 read,write\n"
	  "m register u0 P1:0+2 missing\n"
	  "t0 mprotect P1:0+2 read,write\n" },
	{ "a_shared_huge_page_is_busy_and_stays_huge",
	  "t0 mmap P1:0+1024 read,write\n"
	  "t0 madvise P1:0+1024 hugepage\n"
	  "t0 store P1:3+1 5\n"
	  "m register u0 A0:0+1024 wp,missing\n"
	  "t0 fork\n"
	  "m move u0 A0:1+3 P1:6+3 none\n"
	  "m move u0 A0:0+512 P1:0+512 none\n" },
	{ "a_kick_ends_an_access",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "w access P0:1+1 read 0\n"
	  "m kick\n"
	  "m kick\n"
	  "w access P0:1+1 write 4\n"
	  "w access P0:1+1 write 4\n" },
	{ "emptied_pages_are_not_told",
	  "t0 mmap P0:0+16 read,write\n"
	  "m register u0 P0:0+16 wp,missing\n"
	  "m copy u0 P0:1+2 5\n"
	  "w empty P0:1+2\n"
	  "m read u0\n"
	  "t0 load P0:1+1\n" },
};

const char *script_fixed(size_t number, const char **name)
{
	if (number >= ARRAY_SIZE(scripts))
		return NULL;
	*name = scripts[number].name;
	return scripts[number].text;
}
