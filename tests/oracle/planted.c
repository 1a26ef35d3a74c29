/* SPDX-License-Identifier: MIT */
/*
 * DOC: Planted bugs, for `usvm oracle --plant`
 *
 * The bugs are those of the simulator, in a library on the real kernel. Those that need a
 * certain order of steps are found there by searching for it; here some show in seconds,
 * others hardly ever: scripts/oracle-plants.py has those that must.
 */
#include <string.h>

#include "base/plant.h"

#include "oracle/oracle.h"

#define PLANT_TEXT(name, law, text) { #name, law, text },

static const struct {
	const char *name, *law, *text;
} plants[] = { PLANTS(PLANT_TEXT) };

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

static void list(void)
{
	for (size_t i = 0; i < COUNT; i++)
		printf("%s\t%s\t%s\n", plants[i].name, plants[i].law, plants[i].text);
}

const struct oracle_plants oracle_plants = { set, list };
