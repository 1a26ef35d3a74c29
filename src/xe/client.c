/* SPDX-License-Identifier: MIT */
/*
 * DOC: Clients
 *
 * What /proc/PID/fdinfo tells of a file of the card: whose objects are where, and for how long
 * its queues had jobs on an engine. A queue's time runs from the moment the GPU gets a job to
 * the end of the last that it got, once for each batch of an exec; all engines run at once, so
 * that a class can have more cycles than went by. What a queue used counts on when the queue
 * is gone: both have a reference to the client.
 *
 * Where an object is, is told as the driver does: vram0 and gtt are its places, system where an
 * evicted one's bytes are, or one that has none yet. It is active while a job runs in the address
 * space that owns it; one that several may use, while it is bound anywhere and a job runs in any
 * of the file's. Pages of the process are nobody's objects.
 *
 * Upstream: xe_drm_client.c, drm_show_fdinfo(), drm_print_memory_stats().
 */
#include "xe/xe_internal.h"

#include <unistd.h>

#include "base/text.h"
#include "xe/slot.h"

#define PID_SHIFT 24

/* For how long how many lanes of one class had jobs, added up. */
struct usage {
	uint64_t busy_ns;
	uint64_t since_ns; /* up to here */
	uint32_t running;  /* now */
};

struct xe_client {
	uint32_t references; /* atomic */
	struct xe_card *card;
	uint64_t id;
	struct usage usage[XE_ENGINE_CLASSES]; /* under card->fence_lock */
};

struct xe_client *xe_client_create(struct xe_card *card)
{
	static uint32_t count; /* atomic: of the process */
	struct xe_client *client = xe_alloc(card, sizeof(*client));

	if (!client)
		return NULL;
	client->references = 1;
	client->card = card;
	/* Another one in each process: a reader knows a client by card and number. */
	client->id = (uint64_t)getpid() << PID_SHIFT | (ATOMIC_ADD(&count, 1u) + 1);
	return client;
}

struct xe_client *xe_client_get(struct xe_client *client)
{
	ATOMIC_ADD(&client->references, 1u);
	return client;
}

void xe_client_put(struct xe_client *client)
{
	if (client && ATOMIC_SUB(&client->references, 1u) == 1)
		xe_free(client->card, client, sizeof(*client));
}

/* --- time on the engines --------------------------------------------------------------- */

static uint64_t now_ns(const struct xe_card *card)
{
	return card->sys->ops->clock_ns(card->sys);
}

/* Under fence_lock; @now may be older than what another thread read. */
static void add_up(struct usage *usage, uint64_t now)
{
	if (now <= usage->since_ns)
		return;
	usage->busy_ns += usage->running * (now - usage->since_ns);
	usage->since_ns = now;
}

void xe_client_begin(struct xe_job *job)
{
	struct xe_queue *queue = job->queue;
	struct usage *usage = &queue->client->usage[queue->engine_class];
	struct xe_card *card = job->card;

	lock_acquire(&card->fence_lock);
	job->is_counted = true;
	if (!queue->jobs_running++) {
		add_up(usage, now_ns(card));
		usage->running += queue->width;
	}
	lock_release(&card->fence_lock);
}

void xe_client_end(struct xe_job *job)
{
	struct xe_queue *queue = job->queue;
	struct usage *usage;
	struct xe_card *card = job->card;

	if (!job->is_counted)
		return;
	usage = &queue->client->usage[queue->engine_class];
	lock_acquire(&card->fence_lock);
	if (!--queue->jobs_running) {
		add_up(usage, now_ns(card));
		usage->running -= queue->width;
	}
	lock_release(&card->fence_lock);
}

/* --- memory ---------------------------------------------------------------------------- */

enum region {
	REGION_SYSTEM,
	REGION_GTT,
	REGION_VRAM,
	REGION_COUNT
};

struct amount {
	uint64_t total, active, resident, purgeable;
};

struct look_args {
	struct vm_bo *bo;
	struct vm_bo_info info;
};

static int look(void *argument)
{
	struct look_args *a = argument;

	vm_bo_info(a->bo, &a->info);
	return 0;
}

static bool has_jobs(struct xe_file *file)
{
	struct xe_object *object;
	uint32_t number = 0;
	bool has = false;

	while (!has && (object = xe_file_next(file, XE_KIND_VM, &number))) {
		has = xe_vm_has_jobs(xe_vm_of(object));
		xe_object_put(object);
	}
	return has;
}

static void add_object(struct amount amounts[REGION_COUNT], struct xe_bo *bo, bool file_has_jobs)
{
	struct look_args a = { .bo = bo->bo };
	struct amount *amount;
	bool active;

	mm_call(bo->card->mm, look, &a, sizeof(a));
	amount = &amounts[a.info.place & VM_BO_DEVICE ? REGION_VRAM :
			  a.info.place		      ? REGION_GTT :
							REGION_SYSTEM];
	active = bo->vm ? xe_vm_has_jobs(xe_vm_of(bo->vm)) : file_has_jobs && a.info.bind_count;
	amount->total += bo->bytes;
	if (!a.info.place && !a.info.evictions)
		return;
	amount->resident += bo->bytes;
	if (active)
		amount->active += bo->bytes;
	else if (!a.info.place)
		amount->purgeable += bo->bytes;
}

/* --- the text -------------------------------------------------------------------------- */

static void line(struct text *text, const char *key, const char *name, uint64_t value,
		 const char *unit)
{
	text_string(text, "drm-");
	text_string(text, key);
	text_string(text, name);
	text_string(text, ":\t");
	text_number(text, value);
	text_string(text, unit);
	text_string(text, "\n");
}

/* In the largest unit that it is a multiple of. */
static void bytes_line(struct text *text, const char *key, const char *name, uint64_t bytes)
{
	static const char *const units[] = { "", " KiB", " MiB" };
	uint32_t unit = 0;

	while (unit < ARRAY_SIZE(units) - 1 && bytes && !(bytes & 1023)) {
		bytes >>= 10;
		unit++;
	}
	line(text, key, name, bytes, units[unit]);
}

static void tell_memory(struct text *text, struct xe_file *file)
{
	static const char *const names[REGION_COUNT] = { "system", "gtt", "vram0" };
	struct amount amounts[REGION_COUNT] = { 0 };
	bool file_has_jobs = has_jobs(file);
	struct xe_object *object;
	uint32_t number = 0;

	while ((object = xe_file_next(file, XE_KIND_BO, &number))) {
		add_object(amounts, xe_bo_of(object), file_has_jobs);
		xe_object_put(object);
	}
	for (uint32_t i = 0; i < REGION_COUNT; i++) {
		bytes_line(text, "total-", names[i], amounts[i].total);
		bytes_line(text, "shared-", names[i], 0); /* an object is one file's */
		bytes_line(text, "active-", names[i], amounts[i].active);
		bytes_line(text, "resident-", names[i], amounts[i].resident);
		if (i == REGION_SYSTEM)
			bytes_line(text, "purgeable-", names[i], amounts[i].purgeable);
	}
}

static void tell_cycles(struct text *text, struct xe_client *client)
{
	static const char *const names[XE_ENGINE_CLASSES] = {
		[XE_ENGINE_RENDER] = "rcs",
		[XE_ENGINE_COPY] = "bcs",
		[XE_ENGINE_COMPUTE] = "ccs",
	};
	uint64_t busy_ns[XE_ENGINE_CLASSES];
	uint64_t now;

	lock_acquire(&client->card->fence_lock);
	now = now_ns(client->card);
	for (uint32_t i = 0; i < XE_ENGINE_CLASSES; i++) {
		add_up(&client->usage[i], now);
		busy_ns[i] = client->usage[i].busy_ns;
	}
	lock_release(&client->card->fence_lock);
	for (uint32_t i = 0; i < XE_ENGINE_CLASSES; i++) {
		if (!names[i])
			continue;
		line(text, "cycles-", names[i], xe_cycles(busy_ns[i]), "");
		line(text, "total-cycles-", names[i], xe_cycles(now), "");
	}
}

size_t xe_fdinfo_text(struct xe_file *file, char *buffer, size_t bytes)
{
	char slot[XE_SLOT_BYTES];
	struct text text;

	text_init(&text, buffer, bytes);
	xe_slot(file->card->index, slot);
	text_string(&text, "drm-driver:\txe\n");
	line(&text, "client-id", "", file->client->id, "");
	text_string(&text, "drm-pdev:\t");
	text_string(&text, slot);
	text_string(&text, "\n");
	tell_memory(&text, file);
	tell_cycles(&text, file->client);
	return text.length_bytes;
}
