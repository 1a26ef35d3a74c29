/* SPDX-License-Identifier: MIT */
#ifndef FAKE_SYS_H
#define FAKE_SYS_H
#endif
