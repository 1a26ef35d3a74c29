/* SPDX-License-Identifier: MIT */
/*
 * api/device.h - what is behind a public handle, for layers above api.
 */
#ifndef API_DEVICE_H
#define API_DEVICE_H

struct gpu;
struct mm;
struct usvm;
struct vm_device;

/* Context: any; the device is open. */
struct mm *api_device_mm(struct usvm *usvm);
struct vm_device *api_device_vm(struct usvm *usvm);
/** api_device_gpu() - NULL: the device is the caller's */
struct gpu *api_device_gpu(struct usvm *usvm);

#endif
