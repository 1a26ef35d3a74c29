/* SPDX-License-Identifier: MIT */
/*
 * base/list.h - an intrusive, circular, doubly linked list.
 *
 * A struct list is a head or a node. A node that is on no list points to
 * itself, so that list_remove() may be called twice.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>

#include "base/compiler.h"

struct list {
	struct list *next;
	struct list *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l;
	l->prev = l;
}

static inline bool list_is_empty(const struct list *l)
{
	return l->next == l;
}

/** list_push_back() - insert @node before @head: at the end of the list */
static inline void list_push_back(struct list *head, struct list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

static inline void list_push_front(struct list *head, struct list *node)
{
	list_push_back(head->next, node);
}

static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/** list_pop_front() - remove and return the first node, or NULL */
static inline struct list *list_pop_front(struct list *head)
{
	struct list *node = head->next;

	if (node == head)
		return NULL;
	list_remove(node);
	return node;
}

/** list_splice_back() - move all nodes of @from to the end of @to */
static inline void list_splice_back(struct list *to, struct list *from)
{
	if (list_is_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define LIST_ENTRY(node, type, member) CONTAINER_OF(node, type, member)

#define LIST_FOR_EACH(node, head) \
	for (struct list *node = (head)->next; node != (head); node = node->next)

/** LIST_FOR_EACH_SAFE() - as LIST_FOR_EACH(); the body may remove @node */
#define LIST_FOR_EACH_SAFE(node, head)                                        \
	for (struct list *node = (head)->next, *node##_next = node->next;     \
	     node != (head); node = node##_next, node##_next = node->next)

#endif
