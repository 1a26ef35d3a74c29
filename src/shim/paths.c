/* SPDX-License-Identifier: MIT */
/*
 * DOC: Paths
 *
 * What begins with one of a few prefixes lies in the shadow tree, if the tree has it. So do
 * a few folders of /sys, but not what is below them: they list the card's beside what the
 * kernel's list. A program that follows a path through descriptors of folders, as libudev
 * does from the root, comes into the tree and out of it as if it had named the whole path.
 * What comes back to the program (readlink, realpath) has the tree's own path taken off.
 */
#include "shim/shim_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/text.h"
#include "xe/slot.h"

static const char *const prefixes[] = {
	"/dev/dri",
	"/sys/class/drm",
	"/sys/dev/char/226:",
	"/sys/kernel/debug/dri",
	"/sys/bus/pci/drivers/xe",
	"/sys/module/xe",
	"/sys/devices/" XE_BUS,
	"/sys/bus/pci/devices/" XE_SLOTS,
};

/* These alone, and not what is below. */
static const char *const folders[] = {
	"/sys/class",
	"/sys/bus",
	"/sys/bus/pci",
	"/sys/bus/pci/devices",
	"/sys/bus/pci/drivers",
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
	size_t length = strlen(path);

	if (strncmp(path, "/sys/", 5) != 0 && strncmp(path, "/dev/", 5) != 0)
		return false;
	while (length && path[length - 1] == '/')
		length--;
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		if (strlen(folders[i]) == length && !memcmp(path, folders[i], length))
			return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		length = strlen(prefixes[i]);
		if (!strncmp(path, prefixes[i], length) &&
		    (!path[length] || path[length] == '/' || prefixes[i][length - 1] == ':'))
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

/* What lies at @path below @folder, whose path has no links: to go up is to cut it. */
static const char *walk(char *folder, const char *path, char buffer[SHIM_PATH_MAX])
{
	size_t length = strlen(folder), step;

	while (length && folder[length - 1] == '/')
		length--;
	for (; *path; path += step + strspn(path + step, "/")) {
		step = strcspn(path, "/");
		if (step == 2 && path[0] == '.' && path[1] == '.') {
			while (length && folder[--length] != '/')
				;
		} else if (step != 1 || path[0] != '.') {
			break;
		}
	}
	folder[length] = 0;
	return join(folder, *path || !length ? "/" : "", path, buffer);
}

const char *shim_path_at(int dir, const char *path, char buffer[SHIM_PATH_MAX])
{
	char folder[SHIM_PATH_MAX], whole[SHIM_PATH_MAX];
	bool is_ours;

	if (!path || !shim_is_on())
		return NULL;
	if (path[0] == '/')
		return is_inside(path) ? join(tree.root, path, "", buffer) : NULL;
	if (dir == AT_FDCWD || !path[0])
		return NULL;
	if (!shim_descriptor_path(dir, folder))
		return NULL;
	is_ours = shim_is_in_tree(folder);
	if (is_ours)
		folder[shim_unpath(folder, strlen(folder))] = 0;
	if (!walk(folder, path, whole))
		return NULL;
	if (is_inside(whole))
		return join(tree.root, whole, "", buffer);
	/* Beside what is ours lie links to the kernel's own: who walks by steps goes there. */
	return is_ours ? join(whole, "", "", buffer) : NULL;
}

bool shim_is_in_tree(const char *path)
{
	return !strncmp(path, tree.root, tree.length) &&
	       (!path[tree.length] || path[tree.length] == '/');
}

size_t shim_unpath(char *path, size_t length)
{
	if (!shim_is_on() || length < tree.length || memcmp(path, tree.root, tree.length) != 0)
		return length;
	length -= tree.length;
	memmove(path, path + tree.length, length);
	return length;
}

bool shim_is_sysfs(const char *path)
{
	return shim_is_on() && shim_is_in_tree(path) && !strncmp(path + tree.length, "/sys", 4);
}

bool shim_descriptor_path(int fd, char path[SHIM_PATH_MAX])
{
	char link[32];
	struct text text;
	ssize_t length;

	text_init(&text, link, sizeof(link));
	text_string(&text, "/proc/self/fd/");
	text_number(&text, (uint64_t)fd);
	length = shim_real()->readlink(link, path, SHIM_PATH_MAX - 1);
	if (length <= 0 || path[0] != '/')
		return false;
	path[length] = 0;
	return true;
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
