/* SPDX-License-Identifier: MIT */
/*
 * DOC: keeping account of a device
 *
 * usvm calls our table with the account as the device; we call the device's table
 * with the device. The other way round the device calls the host that it was given,
 * with host->usvm as the first argument: it is given a host of ours, whose usvm is
 * the account. So each function of both tables has its wrapper here, and a device
 * that mixes its arguments up is found out.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "account.h"

static void count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static void complain(struct account *account, const char *text)
{
	const char *none = NULL;

	__atomic_compare_exchange_n(&account->complaint, &none, text, false,
				    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static void expect(struct account *account, bool holds, const char *complaint)
{
	if (!holds)
		complain(account, complaint);
}

/* Before every operation but attach(). */
static struct account *entered(void *device)
{
	struct account *account = device;

	expect(account, account->attached,
	       "usvm: an operation outside attach and detach");
	return account;
}

static void expect_vm(struct account *account, uint32_t vm)
{
	expect(account, vm < ACCOUNT_VMS && account->vm_lives[vm],
	       "usvm: an operation on a vm that does not live");
}

static void expect_pages(struct account *account, uint64_t addr, uint64_t bytes)
{
	expect(account, addr % 4096 == 0 && bytes % 4096 == 0 && bytes != 0,
	       "usvm: a span that is not whole pages");
}

/* --- from the device to usvm ---------------- */

static struct account *of_host(struct usvm *usvm)
{
	return (struct account *)(void *)usvm;
}

static int host_fault(struct usvm *usvm, struct usvm_device_fault *fault)
{
	struct account *account = of_host(usvm);
	int err;

	/* Counted before: the answer may come before fault() returns. */
	count(&account->faults);
	err = account->host->fault(account->usvm, fault);
	if (err)
		__atomic_fetch_sub(&account->faults, 1, __ATOMIC_RELAXED);
	return err;
}

static int host_access(struct usvm *usvm, uint32_t op, uint64_t addr, void *buffer,
		       uint32_t bytes)
{
	struct account *account = of_host(usvm);

	expect(account, addr / 4096 == (addr + bytes - 1) / 4096,
	       "device: a system access across pages");
	return account->host->access(account->usvm, op, addr, buffer, bytes);
}

static void host_report(struct usvm *usvm, uint32_t vm, uint64_t addr, uint32_t access,
			int error)
{
	of_host(usvm)->host->report(of_host(usvm)->usvm, vm, addr, access, error);
}

static int host_engine_begin(struct usvm *usvm)
{
	return of_host(usvm)->host->engine_begin(of_host(usvm)->usvm);
}

static int host_engine_register(struct usvm *usvm)
{
	return of_host(usvm)->host->engine_register(of_host(usvm)->usvm);
}

static void host_engine_unregister(struct usvm *usvm)
{
	of_host(usvm)->host->engine_unregister(of_host(usvm)->usvm);
}

static void host_section_wait(struct usvm *usvm, struct usvm_stop *stop)
{
	of_host(usvm)->host->section_wait(of_host(usvm)->usvm, stop);
}

static void host_section_wake(struct usvm *usvm, struct usvm_stop *stop)
{
	of_host(usvm)->host->section_wake(of_host(usvm)->usvm, stop);
}

static int host_thread_create(struct usvm *usvm, const char *name, void (*run)(void *),
			      void *arg, void **thread)
{
	return of_host(usvm)->host->thread_create(of_host(usvm)->usvm, name, run, arg,
						  thread);
}

static void host_thread_join(struct usvm *usvm, void *thread)
{
	of_host(usvm)->host->thread_join(of_host(usvm)->usvm, thread);
}

static void *host_pages_alloc(struct usvm *usvm, size_t bytes)
{
	return of_host(usvm)->host->pages_alloc(of_host(usvm)->usvm, bytes);
}

static void host_pages_free(struct usvm *usvm, void *pages, size_t bytes)
{
	of_host(usvm)->host->pages_free(of_host(usvm)->usvm, pages, bytes);
}

/* --- from usvm to the device ---------------- */

static int op_attach(void *device, const struct usvm_device_host *host)
{
	struct account *account = device;
	int err;

	expect(account, !account->attached, "usvm: attached twice");
	expect(account, (account->config.flags & USVM_DEVICE_OWN_MEMORY) || host->vram,
	       "usvm: a device in the arena without its memory");
	expect(account, host->vram_bytes == account->config.vram_bytes,
	       "usvm: attach with another size of device memory");
	account->host = host;
	account->usvm = host->usvm;
	account->device_host = (struct usvm_device_host){
		.usvm = (struct usvm *)(void *)account,
		.vram = host->vram,
		.vram_bytes = host->vram_bytes,
		.fault = host_fault,
		.access = host_access,
		.report = host_report,
		.engine_begin = host_engine_begin,
		.engine_register = host_engine_register,
		.engine_unregister = host_engine_unregister,
		.section_wait = host_section_wait,
		.section_wake = host_section_wake,
		.thread_create = host_thread_create,
		.thread_join = host_thread_join,
		.pages_alloc = host_pages_alloc,
		.pages_free = host_pages_free,
	};
	account->attached = true;
	err = account->config.ops->attach(account->config.device, &account->device_host);
	if (err)
		account->attached = false;
	else
		count(&account->attaches);
	return err;
}

static void op_detach(void *device)
{
	struct account *account = entered(device);

	for (uint32_t vm = 0; vm < ACCOUNT_VMS; vm++)
		expect(account, !account->vm_lives[vm], "usvm: detached with a vm alive");
	account->config.ops->detach(account->config.device);
	account->attached = false;
	count(&account->detaches);
}

static int op_vm_create(void *device, uint32_t vm)
{
	struct account *account = entered(device);
	int err;

	if (vm >= ACCOUNT_VMS || account->vm_lives[vm]) {
		complain(account, "usvm: a vm's number is too large or in use");
		return -ENOMEM;
	}
	err = account->config.ops->vm_create(account->config.device, vm);
	if (!err) {
		account->vm_lives[vm] = true;
		count(&account->vm_creates);
	}
	return err;
}

static void op_vm_destroy(void *device, uint32_t vm)
{
	struct account *account = entered(device);

	expect_vm(account, vm);
	account->config.ops->vm_destroy(account->config.device, vm);
	if (vm < ACCOUNT_VMS)
		account->vm_lives[vm] = false;
	count(&account->vm_destroys);
}

static int op_pt_prepare(void *device, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	struct account *account = entered(device);

	expect_vm(account, vm);
	expect_pages(account, addr, bytes);
	return account->config.ops->pt_prepare(account->config.device, vm, addr, bytes);
}

static void op_pt_map(void *device, uint32_t vm, uint64_t addr, uint64_t bytes,
		      uint64_t target, uint32_t flags)
{
	struct account *account = entered(device);
	bool in_vram = flags & USVM_PTE_VRAM;

	expect_vm(account, vm);
	expect_pages(account, addr, bytes);
	expect(account, target % 4096 == 0, "usvm: a page-table target inside a page");
	expect(account,
	       !in_vram || (target < account->config.vram_bytes &&
			    bytes <= account->config.vram_bytes - target),
	       "usvm: a page-table entry beyond device memory");
	expect(account,
	       in_vram || flags & (USVM_PTE_HOST | USVM_PTE_NULL) || target == addr,
	       "usvm: a system entry that is not the address itself");
	expect(account, !(flags & USVM_PTE_ATOMIC) || (flags & USVM_PTE_WRITE),
	       "usvm: atomics allowed, writes not");
	count(in_vram ? &account->vram_maps : &account->system_maps);
	account->config.ops->pt_map(account->config.device, vm, addr, bytes, target,
				    flags);
}

static bool op_pt_clear(void *device, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	struct account *account = entered(device);

	expect_vm(account, vm);
	expect_pages(account, addr, bytes);
	count(&account->clears);
	return account->config.ops->pt_clear(account->config.device, vm, addr, bytes);
}

static void op_tlb_flush(void *device, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	struct account *account = entered(device);

	expect_vm(account, vm);
	expect_pages(account, addr, bytes);
	count(&account->flushes);
	account->config.ops->tlb_flush(account->config.device, vm, addr, bytes);
}

static bool op_stop(void *device)
{
	struct account *account = entered(device);

	count(&account->stops);
	return account->config.ops->stop(account->config.device);
}

static void op_wait_stopped(void *device)
{
	struct account *account = entered(device);

	expect(account, account->stops > account->resumes,
	       "usvm: waits for a stop that it did not ask for");
	count(&account->waits);
	account->config.ops->wait_stopped(account->config.device);
}

static void op_resume(void *device)
{
	struct account *account = entered(device);

	expect(account, account->stops > account->resumes,
	       "usvm: a resume without a stop");
	count(&account->resumes);
	account->config.ops->resume(account->config.device);
}

static int op_copy(void *device, uint64_t vram_offset, void *memory, uint64_t bytes,
		   bool to_device)
{
	struct account *account = entered(device);

	expect(account, account->config.flags & USVM_DEVICE_OWN_MEMORY,
	       "usvm: a copy where device memory is in the arena");
	expect(account,
	       vram_offset < account->config.vram_bytes &&
		       bytes <= account->config.vram_bytes - vram_offset,
	       "usvm: a copy beyond device memory");
	__atomic_fetch_add(to_device ? &account->to_device_bytes :
				       &account->from_device_bytes,
			   bytes, __ATOMIC_RELAXED);
	return account->config.ops->copy(account->config.device, vram_offset, memory,
					 bytes, to_device);
}

static bool is_inside(const struct account *account, uint64_t offset, uint64_t bytes)
{
	return offset < account->config.vram_bytes &&
	       bytes <= account->config.vram_bytes - offset;
}

static int op_copy_peer(void *device, uint64_t vram_offset, void *peer, uint64_t peer_offset,
			uint64_t bytes)
{
	struct account *account = entered(device), *to = entered(peer);

	expect(account, account != to, "usvm: a device is its own peer");
	expect(account, account->config.flags & to->config.flags & USVM_DEVICE_PEER_COPY,
	       "usvm: a copy to a peer that does not know it");
	expect(account, account->config.ops->copy_peer == to->config.ops->copy_peer,
	       "usvm: a copy to a device of another kind");
	expect(account, is_inside(account, vram_offset, bytes) &&
				is_inside(to, peer_offset, bytes),
	       "usvm: a copy beyond device memory");
	__atomic_fetch_add(&account->to_peer_bytes, bytes, __ATOMIC_RELAXED);
	return account->config.ops->copy_peer(account->config.device, vram_offset,
					      to->config.device, peer_offset, bytes);
}

static void op_fault_done(void *device, struct usvm_device_fault *fault, int error)
{
	struct account *account = entered(device);

	expect(account, error <= 0, "usvm: a fault answered with a positive error");
	count(&account->answers);
	if (error)
		count(&account->errors);
	account->config.ops->fault_done(account->config.device, fault, error);
}

static const struct usvm_device_ops account_ops = {
	.attach = op_attach,
	.detach = op_detach,
	.vm_create = op_vm_create,
	.vm_destroy = op_vm_destroy,
	.pt_prepare = op_pt_prepare,
	.pt_map = op_pt_map,
	.pt_clear = op_pt_clear,
	.tlb_flush = op_tlb_flush,
	.stop = op_stop,
	.wait_stopped = op_wait_stopped,
	.resume = op_resume,
	.copy = op_copy,
	.fault_done = op_fault_done,
	.copy_peer = op_copy_peer,
};

/* --- the account itself ---------------- */

struct account *account_create(const struct usvm_device_config *config)
{
	/* Shared memory never migrates: the monitor may touch it. */
	struct account *account = mmap(NULL, sizeof(*account), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (account == MAP_FAILED) {
		perror("no memory for the account");
		exit(1);
	}
	account->config = *config;
	account->ops = account_ops;
	if (!config->ops->copy)
		account->ops.copy = NULL;
	if (!(config->flags & USVM_DEVICE_PEER_COPY))
		account->ops.copy_peer = NULL;
	return account;
}

void account_destroy(struct account *account)
{
	if (account)
		munmap(account, sizeof(*account));
}

struct usvm_device_config account_config(struct account *account)
{
	struct usvm_device_config config = account->config;

	config.ops = &account->ops;
	config.device = account;
	return config;
}

const char *account_close(struct account *account)
{
	expect(account, !account->attached && account->attaches == account->detaches,
	       "usvm: attached and not detached");
	expect(account, account->vm_creates == account->vm_destroys,
	       "usvm: vms created and not destroyed");
	expect(account, account->faults == account->answers,
	       "usvm: a fault that was not answered once");
	expect(account, account->stops == account->resumes,
	       "usvm: stopped and not resumed");
	return account->complaint;
}
