/* SPDX-License-Identifier: MIT */
/*
 * DOC: interval tree
 *
 * A height-balanced (AVL) binary tree. In order, starts never fall; nodes of
 * one start stand in the order of their insertion. Per node:
 *
 *     height  == 1 + max(height of left, height of right)
 *     |height of left - height of right| <= 1
 *     end_max == max(span.end, end_max of left, end_max of right)
 *
 * where a missing child has height 0 and no end. The balance depends on the
 * spans alone, never on addresses of nodes or on a random number: the
 * simulator replays the same tree. A treap would need a counter that lives as
 * long as the tree for that, and has no bound on its depth.
 *
 * A search for what overlaps [start, end) follows end_max: a subtree whose
 * end_max is not above start has nothing for it. Where the left subtree has
 * something that ends above start, the first such node in order is the answer
 * or there is none: whatever stands behind it does not start any earlier.
 */
#include "base/interval_tree.h"
#include "base/assert.h"

static uint32_t height_of(const struct interval_node *node)
{
	return node ? node->height : 0;
}

/* ends_above() - true if something in the subtree @node ends above @addr */
static bool ends_above(const struct interval_node *node, uint64_t addr)
{
	return node && node->end_max > addr;
}

static uint64_t end_max_of_children(const struct interval_node *node)
{
	uint64_t end_max = 0;

	if (node->left)
		end_max = node->left->end_max;
	if (node->right)
		end_max = MAX(end_max, node->right->end_max);
	return end_max;
}

/* update() - make the two derived fields of @node right again, from its children */
static void update(struct interval_node *node)
{
	node->height = 1 + MAX(height_of(node->left), height_of(node->right));
	node->end_max = MAX(node->span.end, end_max_of_children(node));
}

/* replace() - let @new (or nothing) hang where @old hangs; @old keeps its fields */
static void replace(struct interval_tree *tree, struct interval_node *old,
		    struct interval_node *new)
{
	struct interval_node *parent = old->parent;

	if (!parent)
		tree->root = new;
	else if (parent->left == old)
		parent->left = new;
	else
		parent->right = new;
	if (new)
		new->parent = parent;
}

static void set_left(struct interval_node *node, struct interval_node *child)
{
	node->left = child;
	if (child)
		child->parent = node;
}

static void set_right(struct interval_node *node, struct interval_node *child)
{
	node->right = child;
	if (child)
		child->parent = node;
}

/*
 *       node                  top
 *      /    \                /   \
 *    top     c     ->       a    node
 *   /   \                       /    \
 *  a     b                     b      c
 */
static struct interval_node *rotate_right(struct interval_tree *tree,
					  struct interval_node *node)
{
	struct interval_node *top = node->left;

	replace(tree, node, top);
	set_left(node, top->right);
	set_right(top, node);
	update(node);
	update(top);
	return top;
}

static struct interval_node *rotate_left(struct interval_tree *tree,
					 struct interval_node *node)
{
	struct interval_node *top = node->right;

	replace(tree, node, top);
	set_right(node, top->left);
	set_left(top, node);
	update(node);
	update(top);
	return top;
}

/*
 * balance() - mend one node whose children are right. Return: the node that
 * stands in its place now.
 */
static struct interval_node *balance(struct interval_tree *tree,
				     struct interval_node *node)
{
	struct interval_node *left = node->left;
	struct interval_node *right = node->right;

	/* The taller grandchild must be an outer one before a single rotation. */
	if (height_of(left) > height_of(right) + 1) {
		if (height_of(left->right) > height_of(left->left))
			rotate_left(tree, left);
		return rotate_right(tree, node);
	}
	if (height_of(right) > height_of(left) + 1) {
		if (height_of(right->left) > height_of(right->right))
			rotate_right(tree, right);
		return rotate_left(tree, node);
	}
	update(node);
	return node;
}

/* mend_upwards() - from @node up to where a subtree looks from above as it did before */
static void mend_upwards(struct interval_tree *tree, struct interval_node *node)
{
	while (node) {
		uint32_t height = node->height;
		uint64_t end_max = node->end_max;

		node = balance(tree, node);
		if (node->height == height && node->end_max == end_max)
			return;
		node = node->parent;
	}
}

void interval_tree_init(struct interval_tree *tree)
{
	tree->root = NULL;
	tree->count = 0;
}

void interval_tree_insert(struct interval_tree *tree, struct interval_node *node)
{
	struct interval_node **link = &tree->root;
	struct interval_node *parent = NULL;

	ASSERT(!span_is_empty(node->span));

	while (*link) {
		parent = *link;
		link = node->span.start < parent->span.start ? &parent->left :
							       &parent->right;
	}
	node->parent = parent;
	node->left = NULL;
	node->right = NULL;
	update(node);
	*link = node;
	tree->count++;
	mend_upwards(tree, parent);
}

/*
 * remove_inner() - remove a node that has two children. The next node in order,
 * which has no left child, takes its place.
 */
static void remove_inner(struct interval_tree *tree, struct interval_node *node)
{
	struct interval_node *heir = node->right;
	struct interval_node *lowest; /* whose subtree has changed */

	while (heir->left)
		heir = heir->left;
	lowest = heir->parent == node ? heir : heir->parent;

	replace(tree, heir, heir->right);
	replace(tree, node, heir);
	set_left(heir, node->left);
	set_right(heir, node->right);

	/* What the place looked like from above, for mend_upwards() to compare. */
	heir->height = node->height;
	heir->end_max = node->end_max;

	/*
	 * The first walk may end below the heir, when all looks the same from
	 * there; but the heir's own span is not the removed node's.
	 */
	mend_upwards(tree, lowest);
	mend_upwards(tree, heir);
}

void interval_tree_remove(struct interval_tree *tree, struct interval_node *node)
{
	ASSERT(tree->count > 0);
	ASSERT(node->parent || tree->root == node);

	if (node->left && node->right) {
		remove_inner(tree, node);
	} else {
		replace(tree, node, node->left ? node->left : node->right);
		mend_upwards(tree, node->parent);
	}
	tree->count--;

	/* A second removal meets the assert above, as long as the tree is not empty. */
	node->parent = NULL;
	node->left = NULL;
	node->right = NULL;
}

/* first_below() - the first node in the subtree @node that overlaps @span */
static struct interval_node *first_below(struct interval_node *node,
					 struct span span)
{
	while (ends_above(node, span.start)) {
		if (ends_above(node->left, span.start)) {
			node = node->left;
			continue;
		}
		if (node->span.start >= span.end)
			return NULL;
		if (node->span.end > span.start)
			return node;
		node = node->right;
	}
	return NULL;
}

struct interval_node *interval_tree_first(const struct interval_tree *tree,
					  struct span span)
{
	/* Also the byte at 2^64 - 1, which no half-open span can hold. */
	if (span_is_empty(span))
		return NULL;
	return first_below(tree->root, span);
}

struct interval_node *interval_tree_next(const struct interval_node *node,
					 struct span span)
{
	const struct interval_node *child;

	for (;;) {
		if (ends_above(node->right, span.start))
			return first_below(node->right, span);

		do {
			child = node;
			node = node->parent;
			if (!node)
				return NULL;
		} while (child == node->right);

		if (node->span.start >= span.end)
			return NULL;
		/* The caller owns the nodes; the tree lends them without const. */
		if (node->span.end > span.start)
			return (struct interval_node *)node;
	}
}

static void check_node(const struct interval_node *node)
{
	uint32_t left = height_of(node->left);
	uint32_t right = height_of(node->right);

	ASSERT(!span_is_empty(node->span));
	ASSERT(!node->left || node->left->parent == node);
	ASSERT(!node->right || node->right->parent == node);
	ASSERT(left <= right + 1);
	ASSERT(right <= left + 1);
	ASSERT(node->height == 1 + MAX(left, right));
	ASSERT(node->end_max == MAX(node->span.end, end_max_of_children(node)));
}

/* successor() - the next node in order, whatever its span; or NULL */
static const struct interval_node *successor(const struct interval_node *node)
{
	const struct interval_node *child = node;

	if (node->right) {
		node = node->right;
		while (node->left)
			node = node->left;
		return node;
	}
	for (node = node->parent; node && node->right == child; node = node->parent)
		child = node;
	return node;
}

void interval_tree_check(const struct interval_tree *tree)
{
	const struct interval_node *node = tree->root;
	uint64_t start = 0;
	size_t count = 0;

	ASSERT(!node || !node->parent);
	while (node && node->left)
		node = node->left;
	for (; node; node = successor(node)) {
		count++;
		/* Also ends the walk through a tree that has become a ring. */
		ASSERT(count <= tree->count);
		ASSERT(node->span.start >= start);
		check_node(node);
		start = node->span.start;
	}
	ASSERT(count == tree->count);
}
