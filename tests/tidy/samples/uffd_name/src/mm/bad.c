/* SPDX-License-Identifier: MIT */
/* UFFDIO_MOVE may be named in a comment. */
int bad = UFFDIO_MOVE;
long fd = SYS_userfaultfd;
int flag = UFFD_FEATURE_MOVE;
