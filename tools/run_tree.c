/* SPDX-License-Identifier: MIT */
/*
 * DOC: The shadow tree of `usvm run`
 *
 * A folder of real files with what a program looks for under /dev/dri, /sys and the debug
 * file system when it wants an Xe card. The preloaded library leads the program's paths
 * there; whatever a file says that is not of the moment is written here, once.
 */
#include <dirent.h>
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
#include "xe/slot.h"

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
static const char pat_indices[] = "IDX[XE_CACHE_NONE] = 3\n"
				  "IDX[XE_CACHE_WT] = 15\n"
				  "IDX[XE_CACHE_WB] = 2\n"
				  "IDX[XE_CACHE_NONE_COMPRESSION] = 12\n";

#define PAT_COUNT 32
#define PAT_RESERVED_FIRST 16
#define PAT_RESERVED_LAST 19

/* Kept in no cache of the GPU's, and those that are kept for display only: src/xe/profile.c. */
static bool is_transient(unsigned int index)
{
	return index == 6 || index == 11;
}

/* What an entry says of the third level of caches: bits 5 and 4. */
static int make_pat(const char *root, unsigned int card)
{
	char text[4096];
	size_t length = (size_t)snprintf(text, sizeof(text), "PAT table:\n");

	for (unsigned int i = 0; i < PAT_COUNT; i++) {
		bool is_reserved = i >= PAT_RESERVED_FIRST && i <= PAT_RESERVED_LAST;
		unsigned int policy = is_transient(i) ? 1 : 0;

		length += (size_t)snprintf(text + length, sizeof(text) - length,
					   "PAT[%2u] = [ 0, 0, 0, %u, 0, 0 ]  (%#8x)%s\n", i,
					   policy, policy << 4, is_reserved ? " *" : "");
	}
	snprintf(text + length, sizeof(text) - length, "%s", pat_indices);
	return write_file(root, text, "/sys/kernel/debug/dri/%u/gt0/pat_sw_config", card);
}

/* What processes have of the card's memory they write there. One may be another user's. */
static int make_pool(const char *root, unsigned int card)
{
	char path[4096];
	int err = write_file(root, "", "/pool/card%u", card);

	snprintf(path, sizeof(path), "%s/pool/card%u", root, card);
	return err ? err : chmod(path, 0666) ? -errno : 0;
}

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
	char name[128], slot[XE_SLOT_BYTES];
	int err;

	xe_slot(card, slot);
	snprintf(name, sizeof(name), "xe dev=%s unique=%s\n", slot, slot);
	err = write_file(root, name, "/sys/kernel/debug/dri/%u/name", card);
	if (!err)
		err = write_file(root, name, "/sys/kernel/debug/dri/%u/name",
				 RENDER_MINOR + card);
	if (!err)
		err = make_info(root, card, has_groups);
	if (!err)
		err = write_file(root, "", "/sys/kernel/debug/dri/%u/forcewake_all", card);
	if (!err)
		err = make_pat(root, card);
	if (!err)
		err = write_file(root, "1\n", "/sys/kernel/debug/dri/%u/page_reclaim_hw_assist",
				 card);
	/* What it says is written when it is opened. */
	if (!err)
		err = write_file(root, "", "/sys/kernel/debug/dri/%u/gt0/stats", card);
	return err;
}

static int make_pci(const char *root, const char *device, const char *slot, uint16_t id)
{
	const struct {
		const char *name, *format;
	} files[] = {
		{ "vendor", "0x8086\n" }, { "device", "0x%04x\n" }, { "class", "0x030000\n" },
		{ "revision", "0x00\n" }, { "subsystem_vendor", "0x8086\n" },
		{ "subsystem_device", "0x%04x\n" }, { "boot_vga", "0\n" },
	};
	char text[256], target[512];
	int err = 0;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && !err; i++) {
		snprintf(text, sizeof(text), files[i].format, id);
		err = write_file(root, text, "%s/%s", device, files[i].name);
	}
	snprintf(text, sizeof(text),
		 "DRIVER=xe\nPCI_CLASS=30000\nPCI_ID=8086:%04X\nPCI_SUBSYS_ID=8086:%04X\n"
		 "PCI_SLOT_NAME=%s\n",
		 id, id, slot);
	if (!err)
		err = write_file(root, text, "%s/uevent", device);
	snprintf(target, sizeof(target), "%s%s", root, device);
	if (!err)
		err = make_link(root, target, "/sys/bus/pci/devices/%s", slot);
	if (!err)
		err = make_link(root, target, "/sys/bus/pci/drivers/xe/%s", slot);
	snprintf(target, sizeof(target), "%s/sys/bus/pci", root);
	if (!err)
		err = make_link(root, target, "%s/subsystem", device);
	snprintf(target, sizeof(target), "%s/sys/bus/pci/drivers/xe", root);
	return err ? err : make_link(root, target, "%s/driver", device);
}

static int make_node(const char *root, const char *device, const char *name, unsigned int minor)
{
	char text[256], target[512];
	int err;

	snprintf(text, sizeof(text), "226:%u\n", minor);
	err = write_file(root, text, "%s/drm/%s/dev", device, name);
	snprintf(text, sizeof(text), "MAJOR=226\nMINOR=%u\nDEVNAME=dri/%s\nDEVTYPE=drm_minor\n",
		 minor, name);
	if (!err)
		err = write_file(root, text, "%s/drm/%s/uevent", device, name);
	snprintf(target, sizeof(target), "%s%s/drm/%s", root, device, name);
	if (!err)
		err = make_link(root, target, "/sys/dev/char/226:%u", minor);
	if (!err)
		err = make_link(root, target, "/sys/class/drm/%s", name);
	snprintf(target, sizeof(target), "%s%s", root, device);
	if (!err)
		err = make_link(root, target, "%s/drm/%s/device", device, name);
	snprintf(target, sizeof(target), "%s/sys/class/drm", root);
	return err ? err : make_link(root, target, "%s/drm/%s/subsystem", device, name);
}

static int make_sysfs(const char *root, unsigned int card, uint16_t id)
{
	char slot[XE_SLOT_BYTES], device[256], name[32];
	int err;

	xe_slot(card, slot);
	snprintf(device, sizeof(device), "/sys/devices/" XE_BUS "/%s", slot);
	err = make_pci(root, device, slot, id);
	snprintf(name, sizeof(name), "card%u", card);
	if (!err)
		err = make_node(root, device, name, card);
	snprintf(name, sizeof(name), "renderD%u", RENDER_MINOR + card);
	return err ? err : make_node(root, device, name, RENDER_MINOR + card);
}

/* What the kernel lists in @folder is listed in the tree's as well. */
static int list_beside(const char *root, const char *folder)
{
	const struct dirent *entry;
	DIR *listed = opendir(folder);
	char target[1024];
	int err = 0;

	if (!listed)
		return errno == ENOENT ? 0 : -errno;
	while (!err && (entry = readdir(listed))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(target, sizeof(target), "%s/%s", folder, entry->d_name);
		err = make_link(root, target, "%s", target);
		if (err == -EEXIST)
			err = 0;
	}
	closedir(listed);
	return err;
}

int run_tree_make(const char *root, unsigned int cards, const struct run_profile *profile)
{
	static const char *const folders[] = { "/sys/bus/pci/drivers", "/sys/bus/pci/devices",
					       "/sys/bus/pci", "/sys/bus", "/sys/class" };
	int err = 0;

	for (unsigned int card = 0; card < cards && !err; card++) {
		err = write_file(root, "", "/dev/dri/card%u", card);
		if (!err)
			err = write_file(root, "", "/dev/dri/renderD%u", RENDER_MINOR + card);
		if (!err)
			err = make_pool(root, card);
		if (!err)
			err = make_debug(root, card, profile->has_groups);
		if (!err)
			err = make_sysfs(root, card, profile->device_id);
	}
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]) && !err; i++)
		err = list_beside(root, folders[i]);
	return err;
}
