/* SPDX-License-Identifier: MIT */
/*
 * graph - breadth-first search over adjacency lists, each list malloc'd.
 *
 * A kernel for each level: a group looks at a slice of the nodes and marks neighbours of
 * those reached last, by compare-and-exchange: each is counted once, whoever finds it.
 * The CPU reads the count after each level: that page goes to and fro, the graph stays.
 */
#include "example.h"

#define NODE_COUNT 20000u
#define SLICE 256u
#define UNSEEN UINT32_MAX

struct node {
	uint32_t level, degree; /* level first: its address is the node's */
	struct node **neighbours;
};

struct bfs {
	struct node *nodes;
	uint64_t *reached;
	uint32_t level;
};

static void bfs_level(struct usvm_lane *lane, const void *args)
{
	const struct bfs *b = args;
	uint32_t first = usvm_group_id(lane, 0) * SLICE, found = 0;

	for (uint32_t i = first; i < first + SLICE && i < NODE_COUNT; i++) {
		struct node node;

		usvm_read(lane, &node, (uintptr_t)&b->nodes[i], sizeof(node));
		for (uint32_t j = 0; node.level == b->level && j < node.degree; j++) {
			uint64_t next = usvm_load64(lane, (uintptr_t)&node.neighbours[j]);

			found += usvm_atomic_compare_exchange32(lane, next, UNSEEN,
								b->level + 1) == UNSEEN;
		}
	}
	usvm_atomic_add64(lane, (uintptr_t)b->reached, found);
}

static void connect(struct node *nodes)
{
	for (uint32_t i = 0; i < NODE_COUNT; i++) {
		nodes[i].level = i ? UNSEEN : 0;
		nodes[i].degree = example_random() % 12;
		nodes[i].neighbours = example_alloc((nodes[i].degree + 1) * 8);
		for (uint32_t j = 0; j < nodes[i].degree; j++)
			nodes[i].neighbours[j] = &nodes[example_random() % NODE_COUNT];
	}
}

/* The same on the CPU. Return: how many nodes have a wrong level. */
static uint64_t check(const struct node *nodes)
{
	static uint32_t levels[NODE_COUNT];
	uint64_t found = 1, wrong = 0;

	memset(levels + 1, 0xFF, sizeof(levels) - sizeof(levels[0]));
	for (uint32_t level = 0; found; level++) {
		found = 0;
		for (uint32_t i = 0; i < NODE_COUNT; i++) {
			for (uint32_t j = 0; levels[i] == level && j < nodes[i].degree; j++) {
				uint32_t *next = &levels[nodes[i].neighbours[j] - nodes];

				if (*next == UNSEEN)
					found = *next = level + 1;
			}
		}
	}
	for (uint32_t i = 0; i < NODE_COUNT; i++)
		wrong += nodes[i].level != levels[i];
	return wrong;
}

int main(void)
{
	struct example example;
	static struct bfs args;
	uint64_t total, on_device, wrong;

	args = (struct bfs){ example_alloc(NODE_COUNT * 16), example_alloc(8), 0 };
	connect(args.nodes);
	example_open(&example);
	do {
		total = *args.reached;
		example_run(&example, bfs_level, NODE_COUNT / SLICE + 1, &args, sizeof(args));
		on_device = example_device_pages(&example, args.nodes, NODE_COUNT * 16);
		args.level++;
	} while (*args.reached != total);
	wrong = check(args.nodes);
	printf("reached %" PRIu64 " nodes, pages on the GPU %" PRIu64 ", wrong %" PRIu64 "\n",
	       total, on_device, wrong);
	example_close(&example);
	return wrong || !on_device;
}
