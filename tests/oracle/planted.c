/* SPDX-License-Identifier: MIT */
/*
 * DOC: Planted bugs, for `usvm oracle --plant`
 *
 * The bugs are those of the simulator, in a library on the real kernel. Those that need a
 * certain order of steps are found there by searching for it; here some show in seconds,
 * others hardly ever: those that must are marked, for scripts/oracle-plants.py.
 */
#include <string.h>

#include "base/plant.h"

#include "oracle/oracle.h"

#define PLANT_TEXT(name, law, text) { #name, law, text },

static const struct {
	const char *name, *law, *text;
} plants[] = { PLANTS(PLANT_TEXT) };

/* Found within a minute, from 9 of 10 seeds. */
static const char *const often[] = {
	"REMOVE_KEEPS", "REVOKE_HOME", "REVOKE_UNMAP", "REMAP_DROPS", "TLB_UNFLUSHED",
	"FILL_AHEAD", "FILL_TWO_STEPS", "HOME_TWO_STEPS", "READ_THEN_APPLY", "STASH_FORGETS",
	"EVICT_DROPS", "PUSH_NOTHING", "LEAVE_EARLY", "BO_KEEPS_ENTRIES", "BIND_TARGET_KEPT",
	"BIND_UNREVOKED",
};

#define COUNT (sizeof(plants) / sizeof(plants[0]))

static bool set(const char *name)
{
	for (size_t i = 0; i < COUNT; i++) {
		if (strcmp(plants[i].name, name) == 0) {
			plant = (enum plant)(PLANT_NONE + 1 + i);
			return true;
		}
	}
	return false;
}

static bool is_often(const char *name)
{
	for (size_t i = 0; i < sizeof(often) / sizeof(often[0]); i++) {
		if (strcmp(often[i], name) == 0)
			return true;
	}
	return false;
}

static void list(void)
{
	for (size_t i = 0; i < COUNT; i++)
		printf("%s\t%s\t%s%s\n", plants[i].name, plants[i].law, plants[i].text,
		       is_often(plants[i].name) ? "\tmake oracle-plants" : "");
}

const struct oracle_plants oracle_plants = { set, list };
