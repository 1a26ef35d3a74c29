/* SPDX-License-Identifier: MIT */
/*
 * DOC: The shadow tree of `usvm run`
 *
 * A folder of real files with what a program looks for under /dev/dri, /sys and the debug
 * file system when it wants an Xe card. The preloaded library leads the program's paths
 * there; whatever a file says that is not of the moment is written here, once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run.h"

#define RENDER_MINOR 128

/* The folder that @path's file lies in, and all above it. */
static int make_folders(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		if (mkdir(path, 0755) && errno != EEXIST) {
			*slash = '/';
			return -errno;
		}
		*slash = '/';
	}
	return 0;
}

__attribute__((format(printf, 3, 4))) static int write_file(const char *root, const char *text,
							    const char *format, ...)
{
	char path[4096];
	int length = snprintf(path, sizeof(path), "%s", root);
	va_list args;
	FILE *file;
	int err;

	va_start(args, format);
	vsnprintf(path + length, sizeof(path) - (size_t)length, format, args);
	va_end(args);
	err = make_folders(path);
	if (err)
		return err;
	file = fopen(path, "w");
	if (!file)
		return -errno;
	err = fputs(text, file) < 0 ? -EIO : 0;
	if (fclose(file) && !err)
		err = -errno;
	return err;
}

__attribute__((format(printf, 3, 4))) static int make_link(const char *root, const char *to,
							   const char *format, ...)
{
	char path[4096];
	int length = snprintf(path, sizeof(path), "%s", root);
	va_list args;
	int err;

	va_start(args, format);
	vsnprintf(path + length, sizeof(path) - (size_t)length, format, args);
	va_end(args);
	err = make_folders(path);
	if (err)
		return err;
	return symlink(to, path) ? -errno : 0;
}

/* The indices of page attributes that a program asks for by name. */
static const char pat_text[] = "PAT table:\n"
			       "IDX[XE_CACHE_NONE] = 3\n"
			       "IDX[XE_CACHE_WT] = 15\n"
			       "IDX[XE_CACHE_WB] = 2\n"
			       "IDX[XE_CACHE_NONE_COMPRESSION] = 12\n";

static const char info_text[] = "graphics_verx100 2001\n"
				"is_dgfx yes\n"
				"has_flat_ccs yes\n"
				"has_usm yes\n"
				"tile_count 1\n"
				"gt_count 1\n"
				"vram_flags 1\n";

static int make_info(const char *root, unsigned int card, bool has_groups)
{
	char text[1024];

	snprintf(text, sizeof(text), "%smulti_lrc_engine_classes%s\nmulti_queue_engine_classes%s\n",
		 info_text, " rcs ccs", has_groups ? " bcs ccs" : "");
	return write_file(root, text, "/sys/kernel/debug/dri/%u/info", card);
}

static int make_debug(const char *root, unsigned int card, bool has_groups)
{
	char name[128];
	int err;

	snprintf(name, sizeof(name), "xe dev=0000:%02x:00.0 unique=0000:%02x:00.0\n", 3 + card,
		 3 + card);
	err = write_file(root, name, "/sys/kernel/debug/dri/%u/name", card);
	if (!err)
		err = write_file(root, name, "/sys/kernel/debug/dri/%u/name",
				 RENDER_MINOR + card);
	if (!err)
		err = make_info(root, card, has_groups);
	if (!err)
		err = write_file(root, "", "/sys/kernel/debug/dri/%u/forcewake_all", card);
	if (!err)
		err = write_file(root, pat_text, "/sys/kernel/debug/dri/%u/gt0/pat_sw_config",
				 card);
	/* What it says is written when it is opened. */
	if (!err)
		err = write_file(root, "", "/sys/kernel/debug/dri/%u/gt0/stats", card);
	return err;
}

static int make_sysfs(const char *root, unsigned int card)
{
	const unsigned int minors[] = { card, RENDER_MINOR + card };
	const char *const names[] = { "card", "renderD" };
	char text[256], device[256], target[512];
	int err;

	snprintf(device, sizeof(device), "/sys/devices/pci0000:00/0000:00:1f.%u", card);
	err = write_file(root, "0x8086\n", "%s/vendor", device);
	if (!err)
		err = write_file(root, "0xe20b\n", "%s/device", device);
	if (!err)
		err = write_file(root, "0x030000\n", "%s/class", device);
	snprintf(text, sizeof(text),
		 "DRIVER=xe\nPCI_CLASS=30000\nPCI_ID=8086:E20B\nPCI_SLOT_NAME=0000:%02x:00.0\n",
		 3 + card);
	if (!err)
		err = write_file(root, text, "%s/uevent", device);
	for (int i = 0; i < 2 && !err; i++) {
		snprintf(text, sizeof(text), "226:%u\n", minors[i]);
		err = write_file(root, text, "%s/drm/%s%u/dev", device, names[i], minors[i]);
		snprintf(text, sizeof(text), "MAJOR=226\nMINOR=%u\nDEVNAME=dri/%s%u\n",
			 minors[i], names[i], minors[i]);
		if (!err)
			err = write_file(root, text, "%s/drm/%s%u/uevent", device, names[i],
					 minors[i]);
		snprintf(target, sizeof(target), "%s%s/drm/%s%u", root, device, names[i],
			 minors[i]);
		if (!err)
			err = make_link(root, target, "/sys/dev/char/226:%u", minors[i]);
		if (!err)
			err = make_link(root, target, "/sys/class/drm/%s%u", names[i],
					minors[i]);
		snprintf(target, sizeof(target), "%s%s", root, device);
		if (!err)
			err = make_link(root, target, "%s/drm/%s%u/device", device, names[i],
					minors[i]);
	}
	return err;
}

int run_tree_make(const char *root, unsigned int cards, bool has_groups)
{
	int err = 0;

	for (unsigned int card = 0; card < cards && !err; card++) {
		err = write_file(root, "", "/dev/dri/card%u", card);
		if (!err)
			err = write_file(root, "", "/dev/dri/renderD%u", RENDER_MINOR + card);
		if (!err)
			err = make_debug(root, card, has_groups);
		if (!err)
			err = make_sysfs(root, card);
	}
	return err;
}
