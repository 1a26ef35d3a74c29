/* SPDX-License-Identifier: MIT */
/*
 * hello - memory from malloc, written by the CPU, changed by the GPU, read by the CPU.
 *
 * Nothing is copied, pinned or announced: the GPU faults on the pointer, the pages
 * go to device memory, and the CPU's loop faults them home again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <usvm/usvm.h>

#define COUNT (256 * 1024)

static void add_one(struct usvm_lane *lane, const void *args)
{
	uint64_t a = *(const uint64_t *)args + 4 * (uint64_t)usvm_group_id(lane, 0);

	usvm_store32(lane, a, usvm_load32(lane, a) + 1);
}

int main(void)
{
	struct usvm *gpu;
	struct usvm_vm *vm;
	struct usvm_queue *queue;
	struct usvm_device_info info;
	uint64_t pages[4], wrong = 0;
	uint32_t *a = malloc(COUNT * sizeof(*a)); /* plain memory */
	int err;

	if ((err = usvm_open(NULL, &gpu)) || (err = usvm_vm_create(gpu, NULL, &vm)) ||
	    (err = usvm_queue_create(vm, NULL, &queue)) ||
	    (err = usvm_device_info(gpu, &info)))
		goto failed;
	for (uint32_t i = 0; i < COUNT; i++)
		a[i] = i;
	err = usvm_run_kernel(queue, &(struct usvm_kernel){
			.function = add_one, .groups = { COUNT },
			.args = &a, .args_bytes = sizeof(a) }); /* GPU faults */
	if (err)
		goto failed;
	usvm_query_span(vm, a, COUNT * sizeof(*a), pages);
	for (uint32_t i = 0; i < COUNT; i++)
		wrong += a[i] != i + 1; /* CPU faults */
	printf("pages on the GPU: %lu, wrong numbers: %lu\n", pages[USVM_PAGE_DEVICE], wrong);
	if ((err = usvm_queue_destroy(queue)) || (err = usvm_vm_destroy(vm)) ||
	    (err = usvm_close(gpu)))
		goto failed;
	free(a);
	if (!info.migrates)
		printf("SKIP: %s\n", info.why_not);
	return wrong ? 1 : !info.migrates ? 77 : !pages[USVM_PAGE_DEVICE];

failed:
	fprintf(stderr, "hello: %s\n", usvm_strerror(err));
	return 1;
}
