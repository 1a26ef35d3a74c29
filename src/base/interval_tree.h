/* SPDX-License-Identifier: MIT */
/*
 * base/interval_tree.h - an intrusive tree of spans, searched by overlap.
 *
 * A balanced tree ordered by start, each node augmented with the largest end
 * below it. Nodes may overlap. Every operation is O(log n); no allocation.
 * Empty spans may not be inserted.
 */
#ifndef BASE_INTERVAL_TREE_H
#define BASE_INTERVAL_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

struct interval_node {
	struct span span; /* read only while the node is in a tree */
	struct interval_node *parent;
	struct interval_node *left;
	struct interval_node *right;
	uint64_t end_max; /* largest span.end in this subtree */
	uint32_t height; /* of this subtree; a leaf has 1 */
};

struct interval_tree {
	struct interval_node *root;
	size_t count;
};

void interval_tree_init(struct interval_tree *tree);

/** interval_tree_insert() - @node->span is set and not empty; @node is in no tree */
void interval_tree_insert(struct interval_tree *tree, struct interval_node *node);

/** interval_tree_remove() - @node is in @tree */
void interval_tree_remove(struct interval_tree *tree, struct interval_node *node);

/** interval_tree_first() - the node with the lowest start that overlaps @span, or NULL */
struct interval_node *interval_tree_first(const struct interval_tree *tree,
					  struct span span);

/** interval_tree_next() - the one after @node that overlaps @span, in order of start;
 * @node must overlap @span and be in a tree; or NULL */
struct interval_node *interval_tree_next(const struct interval_node *node,
					 struct span span);

/** interval_tree_find() - a node that contains @addr (lowest start), or NULL */
static inline struct interval_node *
interval_tree_find(const struct interval_tree *tree, uint64_t addr)
{
	return interval_tree_first(tree, span_make(addr, 1));
}

/** interval_tree_check() - walk the whole tree and assert its invariants */
void interval_tree_check(const struct interval_tree *tree);

#endif
