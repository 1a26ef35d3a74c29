/* SPDX-License-Identifier: MIT */
/*
 * DOC: The card
 *
 * A device of the model GPU, opened through api as any other: so there is one mm, one
 * monitor and one set of fork hooks in a process, however many cards and other devices it
 * has. Each card has more engine threads than engines: jobs are not preempted, and one
 * that spins until another has run must not keep it from running.
 */
#include "xe/xe_internal.h"

#include <errno.h>
#include <string.h>

#include "api/device.h"
#include "base/assert.h"
#include "base/host.h"
#include "base/text.h"
#include "usvm/usvm.h"

/* Memory of the library is wiped in a child of fork, these are not. */
static struct sys *process_sys;
static uint32_t process_cards;

bool xe_is_forked(void)
{
	return process_sys && process_sys->ops->is_forked(process_sys);
}

void xe_process_forget(void)
{
	process_sys = NULL;
	process_cards = 0;
}

static const struct xe_profile *find_profile(const char *name)
{
	if (!name)
		return &xe_profiles[0];
	for (uint32_t i = 0; i < xe_profile_count; i++) {
		if (!strcmp(xe_profiles[i].name, name))
			return &xe_profiles[i];
	}
	return NULL;
}

static size_t card_bytes(void)
{
	return ALIGN_UP(sizeof(struct xe_card), PAGE_BYTES);
}

static int open_device(uint64_t vram_bytes, const struct xe_card_config *config,
		       struct usvm **usvm)
{
	char spec[128];
	struct text text;

	text_init(&text, spec, sizeof(spec));
	text_string(&text, "model:mode=move,vram=");
	text_number(&text, vram_bytes >> 10);
	text_string(&text, "K,engines=");
	text_number(&text, XE_ENGINE_THREADS);
	if (config->place_on_device)
		text_string(&text, ",placement=device");
	if (config->migrate) {
		text_string(&text, ",migrate=");
		text_string(&text, config->migrate);
	}
	if (config->poison)
		text_string(&text, ",poison=yes");
	return usvm_open(spec, usvm);
}

int xe_card_open(const struct xe_card_config *config, struct xe_card **out)
{
	const struct xe_profile *profile = find_profile(config->profile);
	uint64_t vram_bytes = config->vram_bytes ? config->vram_bytes : MIB(256);
	struct xe_card *card;
	struct usvm *usvm;
	int err;

	if (!profile)
		return -EINVAL;
	err = open_device(vram_bytes, config, &usvm);
	if (err)
		return err;
	card = base_host->pages_alloc(card_bytes());
	if (!card) {
		err = usvm_close(usvm);
		ASSERT(!err);
		return -ENOMEM;
	}
	card->profile = profile;
	card->index = config->index;
	card->vram_bytes = vram_bytes;
	card->card_of = config->card_of;
	card->log = config->log;
	card->usvm = usvm;
	card->mm = api_device_mm(usvm);
	card->sys = mm_sys(card->mm);
	card->gpu = api_device_gpu(usvm);
	card->device = api_device_vm(usvm);
	wait_init(&card->changed);
	list_init(&card->running);
	list_init(&card->userptrs);
	lock_init(&card->fence_lock, LOCK_LEAF, "xe_card.fence_lock");
	lock_init(&card->memory_lock, LOCK_LEAF, "xe_card.memory_lock");
	process_sys = card->sys;
	process_cards++;
	if (config->pool && xe_room_open(card, config->pool))
		err = xe_refuse(card, 0, "its memory is not shared with other processes");
	*out = card;
	return err;
}

void xe_card_close(struct xe_card *card)
{
	struct usvm *usvm;
	int err;

	if (!card)
		return;
	usvm = card->usvm;
	xe_queues_bury(card);
	xe_room_close(card);
	xe_memory_fini(card);
	base_host->pages_free(card, card_bytes());
	if (--process_cards == 0)
		process_sys = NULL;
	err = usvm_close(usvm);
	ASSERT(!err);
}
