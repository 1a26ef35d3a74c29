/* SPDX-License-Identifier: MIT */
/*
 * DOC: Paths
 *
 * What begins with one of a few prefixes lies in the shadow tree, if the tree has it. A
 * program that follows a path through descriptors of folders stays in the tree once it is
 * inside. What comes back to the program (readlink, realpath) has the tree's own path
 * taken off.
 */
#include "shim/shim_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/text.h"

static const char *const prefixes[] = {
	"/dev/dri",
	"/sys/class/drm",
	"/sys/dev/char/226:",
	"/sys/kernel/debug/dri",
	"/sys/bus/pci/drivers/xe",
	"/sys/module/xe",
	"/sys/devices/pci0000:00/0000:00:1f",
};

static struct {
	uint32_t state; /* atomic: 0 not looked, 1 on, 2 off */
	char root[SHIM_PATH_MAX / 2];
	size_t length;
} tree;

const char *shim_environment(const char *name)
{
	return getenv(name);
}

bool shim_is_on(void)
{
	uint32_t state = ATOMIC_LOAD_ACQUIRE(&tree.state);
	const char *root;

	if (likely(state))
		return state == 1;
	root = shim_environment("USVM_XE_ROOT");
	state = 2;
	if (root && root[0] == '/' && strlen(root) < sizeof(tree.root)) {
		memcpy(tree.root, root, strlen(root) + 1);
		tree.length = strlen(root);
		state = 1;
	}
	ATOMIC_STORE_RELEASE(&tree.state, state);
	return state == 1;
}

static bool is_inside(const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		size_t length = strlen(prefixes[i]);

		if (!strncmp(path, prefixes[i], length) &&
		    (!path[length] || path[length] == '/' || prefixes[i][length - 1] == ':' ||
		     strstr(prefixes[i], "0000:00:1f")))
			return true;
	}
	return false;
}

static const char *join(const char *first, const char *second, const char *third,
			char buffer[SHIM_PATH_MAX])
{
	struct text text;

	if (strlen(first) + strlen(second) + strlen(third) >= SHIM_PATH_MAX)
		return NULL;
	text_init(&text, buffer, SHIM_PATH_MAX);
	text_string(&text, first);
	text_string(&text, second);
	text_string(&text, third);
	return buffer;
}

const char *shim_path(const char *path, char buffer[SHIM_PATH_MAX])
{
	const char *real = NULL;

	if (path && shim_is_on() && is_inside(path))
		real = join(tree.root, path, "", buffer);
	return real ? real : path;
}

const char *shim_path_at(int dir, const char *path, char buffer[SHIM_PATH_MAX])
{
	char link[32], folder[SHIM_PATH_MAX];
	struct text text;
	ssize_t length;

	if (!path || !shim_is_on())
		return NULL;
	if (path[0] == '/')
		return is_inside(path) ? join(tree.root, path, "", buffer) : NULL;
	if (dir == AT_FDCWD || !path[0])
		return NULL;
	text_init(&text, link, sizeof(link));
	text_string(&text, "/proc/self/fd/");
	text_number(&text, (uint64_t)dir);
	length = shim_real()->readlink(link, folder, sizeof(folder) - 1);
	if (length <= 0 || (size_t)length < tree.length ||
	    memcmp(folder, tree.root, tree.length) != 0)
		return NULL;
	folder[length] = 0;
	return join(folder, "/", path, buffer);
}

size_t shim_unpath(char *path, size_t length)
{
	if (!shim_is_on() || length < tree.length || memcmp(path, tree.root, tree.length) != 0)
		return length;
	length -= tree.length;
	memmove(path, path + tree.length, length);
	return length;
}

int shim_own_descriptor(const char *path)
{
	static const char prefix[] = "/proc/self/fd/";
	char *end;
	long number;

	if (!path || strncmp(path, prefix, sizeof(prefix) - 1) != 0)
		return -1;
	number = strtol(path + sizeof(prefix) - 1, &end, 10);
	return *end || number < 0 || number > INT32_MAX ? -1 : (int)number;
}
