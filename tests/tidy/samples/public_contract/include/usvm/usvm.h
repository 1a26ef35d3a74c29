/* SPDX-License-Identifier: MIT */
#ifndef USVM_USVM_H
#define USVM_USVM_H

#ifdef __cplusplus
extern "C" {
#endif

struct usvm_ops {
	int (*call)(int);
};

typedef void (*usvm_function)(int);

/** usvm_good() - one line. Context: any. Return: 0. */
int usvm_good(void);

/** usvm_put() - nothing returned. Context: any. */
void usvm_put(struct usvm_ops *ops);

/** usvm_same() - Context, Return: as usvm_good(). */
USVM_API int usvm_same(void);

static inline int usvm_inline(void)
{
	return 0;
}

/** usvm_no_return() - Context: any. */
const char *usvm_no_return(void);

/** usvm_no_context() - Return: 0. */
USVM_API int usvm_no_context(int a,
			     int b);

int usvm_no_comment(void (*call)(int));

#ifdef __cplusplus
}
#endif

#endif
