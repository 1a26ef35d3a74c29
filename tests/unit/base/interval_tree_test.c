/* SPDX-License-Identifier: MIT */
/*
 * interval_tree_test.c - the tree against an array that is searched from end to end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/interval_tree.h"
#include "base/prng.h"
#include "host_posix.h"
#include "seed.h"

enum { NODE_COUNT = 200 };

static uint64_t seed;

/* The model: the same nodes, in order of start and then of insertion. */
struct model {
	struct interval_tree tree;
	struct interval_node nodes[NODE_COUNT];
	bool used[NODE_COUNT];
	struct interval_node *sorted[NODE_COUNT];
	size_t count;
};

static void model_insert(struct model *m, size_t index, struct span span)
{
	size_t at = m->count;

	/* Rubbish in all fields but the span: the tree owns them. */
	memset(&m->nodes[index], 0xa5, sizeof(m->nodes[index]));
	m->nodes[index].span = span;
	for (; at > 0 && m->sorted[at - 1]->span.start > span.start; at--)
		m->sorted[at] = m->sorted[at - 1];
	m->sorted[at] = &m->nodes[index];
	m->count++;
	m->used[index] = true;
	interval_tree_insert(&m->tree, &m->nodes[index]);
}

static void model_remove(struct model *m, size_t index)
{
	size_t at = 0;

	while (m->sorted[at] != &m->nodes[index])
		at++;
	m->count--;
	for (; at < m->count; at++)
		m->sorted[at] = m->sorted[at + 1];
	m->used[index] = false;
	interval_tree_remove(&m->tree, &m->nodes[index]);
}

/* model_query() - first and next must meet exactly the overlapping nodes, in order */
static void model_query(const struct model *m, struct span span)
{
	struct interval_node *node = interval_tree_first(&m->tree, span);

	for (size_t i = 0; i < m->count; i++) {
		if (!span_overlaps(m->sorted[i]->span, span))
			continue;
		assert_ptr_equal(node, m->sorted[i]);
		node = interval_tree_next(node, span);
	}
	assert_null(node);
}

/* model_run() - random steps over addresses below @limit, spans of up to @bytes_max */
static void model_run(struct prng *prng, uint64_t limit, uint64_t bytes_max,
		      uint64_t node_count)
{
	static struct model m;

	memset(&m, 0, sizeof(m));
	interval_tree_init(&m.tree);
	for (int step = 0; step < 4000; step++) {
		size_t index = prng_below(prng, node_count);
		struct span span = span_make(prng_below(prng, limit),
					     1 + prng_below(prng, bytes_max));

		if (m.used[index])
			model_remove(&m, index);
		else
			model_insert(&m, index, span);
		interval_tree_check(&m.tree);
		assert_int_equal(m.tree.count, m.count);

		for (int i = 0; i < 3; i++) {
			span = span_make(prng_below(prng, limit),
					 prng_below(prng, bytes_max));
			model_query(&m, span);
		}
		model_query(&m, (struct span){ 0, UINT64_MAX });
	}
	for (size_t i = 0; i < node_count; i++) {
		if (m.used[i])
			model_remove(&m, i);
		interval_tree_check(&m.tree);
	}
	assert_null(m.tree.root);
}

static void random_steps_agree_with_an_array(void **state)
{
	struct prng prng;

	(void)state;
	prng_seed(&prng, seed);
	model_run(&prng, 64, 8, 8);               /* every small shape */
	model_run(&prng, 100, 10, NODE_COUNT);    /* many equal starts */
	model_run(&prng, 1000, 1000, NODE_COUNT); /* everything overlaps */
	model_run(&prng, GIB(1), 4096, NODE_COUNT); /* next to nothing does */
	model_run(&prng, 1, 5, NODE_COUNT);       /* one start for all */
}

/* The deepest AVL tree of n nodes stays below 1.4405 log2(n + 2). */
static void sorted_insertion_stays_shallow(void **state)
{
	enum { COUNT = 1 << 16, HEIGHT_MAX = 24 };
	struct interval_node *nodes = test_calloc(COUNT, sizeof(*nodes));
	struct interval_tree tree;

	(void)state;
	for (int backwards = 0; backwards < 2; backwards++) {
		interval_tree_init(&tree);
		for (uint64_t i = 0; i < COUNT; i++) {
			uint64_t at = backwards ? COUNT - i : i;

			nodes[i].span = span_make(at * PAGE_BYTES, PAGE_BYTES);
			interval_tree_insert(&tree, &nodes[i]);
		}
		interval_tree_check(&tree);
		assert_true(tree.root->height <= HEIGHT_MAX);

		/* From one end, so that the tree must turn over. */
		for (uint64_t i = 0; i < COUNT - 16; i++)
			interval_tree_remove(&tree, &nodes[i]);
		interval_tree_check(&tree);
		assert_int_equal(tree.count, 16);
		assert_true(tree.root->height <= 5);
	}
	test_free(nodes);
}

static void the_same_steps_give_the_same_tree(void **state)
{
	struct interval_node nodes[2][64];
	struct interval_tree trees[2];

	(void)state;
	for (int t = 0; t < 2; t++) {
		struct prng prng;

		prng_seed(&prng, seed);
		interval_tree_init(&trees[t]);
		for (int i = 0; i < 64; i++) {
			nodes[t][i].span = span_make(prng_below(&prng, 50), 1);
			interval_tree_insert(&trees[t], &nodes[t][i]);
		}
		for (int i = 0; i < 64; i += 3)
			interval_tree_remove(&trees[t], &nodes[t][i]);
	}
	assert_int_equal(trees[0].root - nodes[0], trees[1].root - nodes[1]);
	for (int i = 0; i < 64; i++) {
		if (nodes[0][i].parent)
			assert_int_equal(nodes[0][i].parent - nodes[0],
					 nodes[1][i].parent - nodes[1]);
	}
}

static void spans_are_half_open_up_to_the_last_address(void **state)
{
	struct interval_node node = { .span = { UINT64_MAX - 10, UINT64_MAX } };
	struct interval_tree tree;

	(void)state;
	interval_tree_init(&tree);
	assert_null(interval_tree_find(&tree, 0));
	interval_tree_insert(&tree, &node);
	assert_null(interval_tree_find(&tree, UINT64_MAX - 11));
	assert_ptr_equal(interval_tree_find(&tree, UINT64_MAX - 10), &node);
	assert_ptr_equal(interval_tree_find(&tree, UINT64_MAX - 1), &node);
	assert_null(interval_tree_find(&tree, UINT64_MAX));
}

static void an_empty_span_finds_nothing(void **state)
{
	struct interval_node node = { .span = { 10, 20 } };
	struct interval_tree tree;

	(void)state;
	interval_tree_init(&tree);
	interval_tree_insert(&tree, &node);
	for (uint64_t at = 9; at < 22; at++)
		assert_null(interval_tree_first(&tree, (struct span){ at, at }));
}

static void misuse_is_caught(void **state)
{
	struct interval_node nodes[3] = { { .span = { 1, 2 } }, { .span = { 2, 3 } } };
	struct interval_tree tree;
	char text[4096];

	(void)state;
	interval_tree_init(&tree);
	DIES_WITH(text, interval_tree_insert(&tree, &nodes[2]));
	assert_non_null(strstr(text, "span_is_empty"));
	DIES_WITH(text, interval_tree_remove(&tree, &nodes[2]));
	assert_non_null(strstr(text, "tree->count > 0"));

	interval_tree_insert(&tree, &nodes[0]);
	interval_tree_insert(&tree, &nodes[1]);
	interval_tree_remove(&tree, &nodes[0]);
	DIES_WITH(text, interval_tree_remove(&tree, &nodes[0]));
	assert_non_null(strstr(text, "tree->root == node"));
}

/* CHECK_CATCHES() - spoil one field, and see that the check says which rule broke */
#define CHECK_CATCHES(tree, field, value, words)                      \
	do {                                                          \
		char text_[4096];                                     \
		__typeof__(field) saved_ = (field);                   \
								      \
		(field) = (value);                                    \
		DIES_WITH(text_, interval_tree_check(tree));          \
		assert_non_null(strstr(text_, (words)));              \
		(field) = saved_;                                     \
		interval_tree_check(tree);                            \
	} while (0)

static void the_check_sees_each_kind_of_damage(void **state)
{
	static struct interval_node nodes[15];
	static struct interval_tree tree;
	struct interval_node *root;

	(void)state;
	interval_tree_init(&tree);
	for (uint64_t i = 0; i < 15; i++) {
		nodes[i].span = span_make(i * 10, 10);
		interval_tree_insert(&tree, &nodes[i]);
	}
	root = tree.root;
	CHECK_CATCHES(&tree, root->span.start, 0, "node->span.start >= start");
	CHECK_CATCHES(&tree, root->span.end, 1000, "node->end_max ==");
	CHECK_CATCHES(&tree, root->end_max, 1000, "node->end_max ==");
	CHECK_CATCHES(&tree, root->height, 9, "node->height ==");
	CHECK_CATCHES(&tree, root->left->left, NULL, "left + 1");
	CHECK_CATCHES(&tree, root->right->right, NULL, "right + 1");
	CHECK_CATCHES(&tree, root->left->right->parent, NULL, "->parent == node");
	CHECK_CATCHES(&tree, root->right->left->parent, NULL, "count == tree->count");
	CHECK_CATCHES(&tree, root->parent, root->left, "!node->parent");
	CHECK_CATCHES(&tree, tree.count, 14, "count <= tree->count");
	CHECK_CATCHES(&tree, tree.count, 16, "count == tree->count");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_steps_agree_with_an_array),
		cmocka_unit_test(sorted_insertion_stays_shallow),
		cmocka_unit_test(the_same_steps_give_the_same_tree),
		cmocka_unit_test(spans_are_half_open_up_to_the_last_address),
		cmocka_unit_test(an_empty_span_finds_nothing),
		cmocka_unit_test(misuse_is_caught),
		cmocka_unit_test(the_check_sees_each_kind_of_damage),
	};

	seed = seed_from(argc, argv);
	host_posix_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
