/* SPDX-License-Identifier: MIT */
/*
 * DOC: Device specifications
 *
 * "model:vram=256M,mode=move": a name, a colon, key=value pairs with commas. A
 * key is looked up in one table; a value that its kind does not know is an error,
 * never a default.
 */
#include "api/api_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct text {
	const char *start;
	size_t length;
};

static bool text_is(struct text t, const char *word)
{
	return strlen(word) == t.length && !memcmp(t.start, word, t.length);
}

static int parse_number(struct text t, uint64_t *value)
{
	uint64_t n = 0;

	if (!t.length)
		return -EINVAL;
	for (size_t i = 0; i < t.length; i++) {
		if (t.start[i] < '0' || t.start[i] > '9' || n > UINT64_MAX / 10 - 10)
			return -EINVAL;
		n = n * 10 + (uint64_t)(t.start[i] - '0');
	}
	*value = n;
	return 0;
}

static int parse_size(struct text t, uint64_t *bytes)
{
	static const char units[] = "KMG";
	const char *unit = t.length ? strchr(units, t.start[t.length - 1]) : NULL;
	unsigned int shift = 0;
	uint64_t n;
	int err;

	if (unit && *unit) {
		shift = 10 * (unsigned int)(unit - units + 1);
		t.length--;
	}
	err = parse_number(t, &n);
	if (err)
		return err;
	if (n > UINT64_MAX >> shift)
		return -EINVAL;
	*bytes = n << shift;
	return 0;
}

static bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

static int set_vram(struct api_config *c, struct text v)
{
	int err = parse_size(v, &c->vram_bytes);

	if (err || !c->vram_bytes || c->vram_bytes % HUGE_BYTES || c->vram_bytes > GIB(1024))
		return -EINVAL;
	return 0;
}

static int set_mode(struct api_config *c, struct text v)
{
	c->copy = text_is(v, "copy");
	return c->copy || text_is(v, "move") ? 0 : -EINVAL;
}

static int set_engines(struct api_config *c, struct text v)
{
	uint64_t n;

	if (parse_number(v, &n) || n < 1 || n > 16)
		return -EINVAL;
	c->engine_count = (uint32_t)n;
	return 0;
}

static int set_migrate(struct api_config *c, struct text v)
{
	c->migrate = text_is(v, "never") ? VM_MIGRATE_NEVER : VM_MIGRATE_AUTO;
	c->migrate_always = text_is(v, "always");
	if (c->migrate == VM_MIGRATE_NEVER || c->migrate_always || text_is(v, "auto"))
		return 0;
	return -EINVAL;
}

static int set_home(struct api_config *c, struct text v)
{
	if (parse_size(v, &c->home_bytes))
		return -EINVAL;
	if (c->home_bytes != PAGE_BYTES && c->home_bytes != KIB(64) &&
	    c->home_bytes != HUGE_BYTES)
		return -EINVAL;
	return 0;
}

static int set_notifier(struct api_config *c, struct text v)
{
	if (parse_size(v, &c->notifier_bytes) || !is_power_of_two(c->notifier_bytes) ||
	    c->notifier_bytes < HUGE_BYTES || c->notifier_bytes > GIB(1024))
		return -EINVAL;
	return 0;
}

static int set_timeslice(struct api_config *c, struct text v)
{
	return parse_number(v, &c->timeslice_ms) || c->timeslice_ms > 1000 ? -EINVAL : 0;
}

static int set_thrash(struct api_config *c, struct text v)
{
	c->no_thrash_control = text_is(v, "no");
	return c->no_thrash_control || text_is(v, "yes") ? 0 : -EINVAL;
}

static int set_atomics(struct api_config *c, struct text v)
{
	c->no_system_atomics = text_is(v, "no");
	return c->no_system_atomics || text_is(v, "yes") ? 0 : -EINVAL;
}

static int set_trace(struct api_config *c, struct text v)
{
	if (parse_number(v, &c->trace_events) ||
	    (c->trace_events && !is_power_of_two(c->trace_events)) ||
	    c->trace_events > 1u << 24)
		return -EINVAL;
	return 0;
}

static int set_origins(struct api_config *c, struct text v)
{
	c->origins = text_is(v, "yes");
	return c->origins || text_is(v, "no") ? 0 : -EINVAL;
}

static int set_placement(struct api_config *c, struct text v)
{
	c->place_on_device = text_is(v, "device");
	return c->place_on_device || text_is(v, "auto") ? 0 : -EINVAL;
}

static int set_poison(struct api_config *c, struct text v)
{
	c->poison = text_is(v, "yes");
	return c->poison || text_is(v, "no") ? 0 : -EINVAL;
}

static int set_entries(struct api_config *c, struct text v)
{
	c->marked = text_is(v, "marked");
	return c->marked || text_is(v, "plain") ? 0 : -EINVAL;
}

static int set_peers(struct api_config *c, struct text v)
{
	if (!v.length || v.length >= sizeof(c->peers))
		return -EINVAL;
	memset(c->peers, 0, sizeof(c->peers));
	if (!text_is(v, "none"))
		memcpy(c->peers, v.start, v.length);
	return 0;
}

static const struct key {
	const char *name;
	bool model_only;
	int (*set)(struct api_config *config, struct text value);
} keys[] = {
	{ "vram", true, set_vram },
	{ "mode", true, set_mode },
	{ "engines", true, set_engines },
	{ "migrate", false, set_migrate },
	{ "home", false, set_home },
	{ "notifier", false, set_notifier },
	{ "timeslice", false, set_timeslice },
	{ "thrash_control", false, set_thrash },
	{ "system_atomics", true, set_atomics },
	{ "trace", false, set_trace },
	{ "origins", false, set_origins },
	{ "placement", false, set_placement },
	{ "poison", false, set_poison },
	{ "entries", false, set_entries },
	{ "peers", false, set_peers },
};

static int set_pair(struct api_config *config, bool is_model, struct text pair)
{
	const char *equals = memchr(pair.start, '=', pair.length);
	struct text name, value;

	if (!equals)
		return -EINVAL;
	name = (struct text){ pair.start, (size_t)(equals - pair.start) };
	value = (struct text){ equals + 1, pair.length - name.length - 1 };
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (text_is(name, keys[i].name))
			return keys[i].model_only && !is_model ?
				       -EINVAL :
				       keys[i].set(config, value);
	}
	return -EINVAL;
}

static int set_pairs(struct api_config *config, bool is_model, const char *pairs)
{
	int err = 0;

	while (*pairs && !err) {
		size_t length = strcspn(pairs, ",");

		err = set_pair(config, is_model, (struct text){ pairs, length });
		pairs += length;
		if (*pairs == ',' && !*++pairs)
			return -EINVAL;
	}
	return err;
}

int api_config_parse(const char *spec, bool is_model, struct api_config *config)
{
	static const char model[] = "model";

	*config = (struct api_config){
		.is_model = is_model,
		.vram_bytes = MIB(256),
		.engine_count = 2,
		.migrate = VM_MIGRATE_AUTO,
		.home_bytes = HUGE_BYTES,
		.notifier_bytes = MIB(512),
		.timeslice_ms = 5,
	};
	if (is_model)
		memcpy(config->peers, model, sizeof(model));
	if (!is_model)
		return spec ? set_pairs(config, false, spec) : 0;
	if (!spec)
		spec = getenv("USVM_DEVICE");
	if (!spec || !*spec)
		return 0;
	if (strncmp(spec, model, strlen(model)))
		return -EINVAL;
	spec += strlen(model);
	if (!*spec)
		return 0;
	return *spec == ':' ? set_pairs(config, true, spec + 1) : -EINVAL;
}
