/* SPDX-License-Identifier: MIT */
/*
 * tree - a binary search tree of malloc'd nodes, shared by pointer.
 *
 * The GPU walks it by the same pointers, with no copy and no flattening, and edits the
 * values where they are. The CPU then inserts nodes, and the GPU's next walk sees them.
 */
#include "example.h"

#define NODE_COUNT 50000
#define DEPTH_MAX 128 /* of a tree of random keys: about 40 */

struct node {
	uint64_t key, value;
	struct node *child[2];
};

struct walk {
	struct node *root;
	uint64_t *result; /* sum of the values, depth, nodes */
	uint64_t add; /* to each value, after it was counted */
};

static void walk(struct usvm_lane *lane, const void *args)
{
	const struct walk *w = args;
	uint64_t stack[DEPTH_MAX] = { (uintptr_t)w->root }, levels[DEPTH_MAX] = { 1 };
	uint64_t sum = 0, depth = 0, count = 0, used = 1;

	while (used) {
		uint64_t at = stack[--used], level = levels[used];
		struct node node;

		usvm_read(lane, &node, at, sizeof(node));
		sum += node.value;
		count++;
		depth = level > depth ? level : depth;
		usvm_store64(lane, at + offsetof(struct node, value), node.value + w->add);
		for (int i = 0; i < 2; i++) {
			if (node.child[i] && used < DEPTH_MAX) {
				stack[used] = (uintptr_t)node.child[i];
				levels[used++] = level + 1;
			}
		}
	}
	usvm_write(lane, (uintptr_t)w->result, (uint64_t[]){ sum, depth, count }, 24);
}

static void insert(struct node **root, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		struct node **at = root, *node = example_alloc(sizeof(*node));

		node->key = example_random();
		node->value = example_random();
		while (*at)
			at = &(*at)->child[node->key > (*at)->key];
		*at = node;
	}
}

static void cpu_walk(const struct node *node, uint64_t level, uint64_t expected[3])
{
	if (!node)
		return;
	expected[0] += node->value;
	expected[1] = level > expected[1] ? level : expected[1];
	expected[2]++;
	cpu_walk(node->child[0], level + 1, expected);
	cpu_walk(node->child[1], level + 1, expected);
}

int main(void)
{
	struct example example;
	static struct walk args;
	int wrong = 0;

	args = (struct walk){ .result = example_alloc(3 * 8), .add = 7 };
	example_open(&example);
	insert(&args.root, NODE_COUNT);
	for (int round = 0; round < 3; round++) {
		uint64_t expected[3] = { 0 }, edited[3] = { 0 }, on_device;

		cpu_walk(args.root, 1, expected);
		example_run(&example, walk, 1, &args, sizeof(args));
		on_device = example_device_pages(&example, args.root, sizeof(*args.root));
		wrong += !on_device || memcmp(args.result, expected, sizeof(expected)) != 0;
		printf("sum %" PRIu64 ", depth %" PRIu64 ", %" PRIu64 " nodes, wrong: %d\n",
		       args.result[0], args.result[1], args.result[2], wrong);

		/* What the GPU added is seen here; what is inserted here, by the GPU. */
		cpu_walk(args.root, 1, edited);
		wrong += edited[0] != expected[0] + args.add * expected[2];
		insert(&args.root, NODE_COUNT / 10);
	}
	example_close(&example);
	return wrong != 0;
}
