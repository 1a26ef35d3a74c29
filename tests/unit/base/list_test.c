/* SPDX-License-Identifier: MIT */
/* list_test.c - the intrusive list keeps its order, and both of its directions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/list.h"

struct item {
	int value;
	struct list link;
};

/* assert_list() - @head has exactly the @count values, forwards and backwards */
static void assert_list(const struct list *head, size_t count, const int *values)
{
	const struct list *back = head;
	size_t seen = 0;

	LIST_FOR_EACH(node, head) {
		assert_true(seen < count);
		assert_int_equal(LIST_ENTRY(node, struct item, link)->value,
				 values[seen]);
		assert_ptr_equal(node->prev, back);
		back = node;
		seen++;
	}
	assert_ptr_equal(head->prev, back);
	assert_int_equal(seen, count);
	assert_int_equal(list_is_empty(head), count == 0);
}
#define ASSERT_LIST(head, ...)                                           \
	assert_list((head), ARRAY_SIZE(((int[]){ __VA_ARGS__ })),        \
		    (int[]){ __VA_ARGS__ })

static void items_init(struct item *items, int count)
{
	for (int i = 0; i < count; i++) {
		items[i].value = i;
		list_init(&items[i].link);
	}
}

static void pushes_keep_their_order(void **state)
{
	struct item items[4];
	struct list head;

	(void)state;
	items_init(items, 4);
	list_init(&head);
	assert_list(&head, 0, NULL);
	list_push_back(&head, &items[1].link);
	list_push_back(&head, &items[2].link);
	list_push_front(&head, &items[0].link);
	list_push_back(&head, &items[3].link);
	ASSERT_LIST(&head, 0, 1, 2, 3);
}

static void a_removed_node_may_be_removed_again(void **state)
{
	struct item items[3];
	struct list head;

	(void)state;
	items_init(items, 3);
	list_init(&head);
	for (int i = 0; i < 3; i++)
		list_push_back(&head, &items[i].link);

	list_remove(&items[1].link);
	ASSERT_LIST(&head, 0, 2);
	assert_true(list_is_empty(&items[1].link));
	list_remove(&items[1].link);
	ASSERT_LIST(&head, 0, 2);
	list_push_front(&head, &items[1].link);
	ASSERT_LIST(&head, 1, 0, 2);
}

static void pop_takes_the_oldest_and_then_nothing(void **state)
{
	struct item items[2];
	struct list head;

	(void)state;
	items_init(items, 2);
	list_init(&head);
	assert_null(list_pop_front(&head));
	list_push_back(&head, &items[0].link);
	list_push_back(&head, &items[1].link);
	assert_ptr_equal(list_pop_front(&head), &items[0].link);
	assert_true(list_is_empty(&items[0].link));
	assert_ptr_equal(list_pop_front(&head), &items[1].link);
	assert_null(list_pop_front(&head));
	assert_list(&head, 0, NULL);
}

static void a_splice_moves_everything_in_order(void **state)
{
	struct item items[5];
	struct list from;
	struct list to;

	(void)state;
	items_init(items, 5);
	list_init(&from);
	list_init(&to);
	list_splice_back(&to, &from);
	assert_list(&to, 0, NULL);

	for (int i = 0; i < 5; i++)
		list_push_back(i < 2 ? &to : &from, &items[i].link);
	list_splice_back(&to, &from);
	ASSERT_LIST(&to, 0, 1, 2, 3, 4);
	assert_list(&from, 0, NULL);

	list_splice_back(&from, &to);
	ASSERT_LIST(&from, 0, 1, 2, 3, 4);
	assert_list(&to, 0, NULL);
}

static void a_safe_walk_may_remove_what_it_stands_on(void **state)
{
	struct item items[6];
	struct list head;

	(void)state;
	items_init(items, 6);
	list_init(&head);
	for (int i = 0; i < 6; i++)
		list_push_back(&head, &items[i].link);
	LIST_FOR_EACH_SAFE(node, &head) {
		if (LIST_ENTRY(node, struct item, link)->value % 2 == 0)
			list_remove(node);
	}
	ASSERT_LIST(&head, 1, 3, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pushes_keep_their_order),
		cmocka_unit_test(a_removed_node_may_be_removed_again),
		cmocka_unit_test(pop_takes_the_oldest_and_then_nothing),
		cmocka_unit_test(a_splice_moves_everything_in_order),
		cmocka_unit_test(a_safe_walk_may_remove_what_it_stands_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
