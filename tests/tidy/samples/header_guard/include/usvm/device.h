/* SPDX-License-Identifier: MIT */
#ifndef USVM_DEVICE_H
#define USVM_DEVICE_H
#endif
