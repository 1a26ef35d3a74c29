/* SPDX-License-Identifier: MIT */
/*
 * DOC: Nodes and cards
 *
 * A node is a file of the shadow tree, known by device and inode. A card is opened when a
 * node of it is used first; a program that never does gets no thread. In a child of fork
 * nothing is open any more, and the epoch is another.
 */
#include "shim/shim_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/text.h"

struct known_node {
	dev_t device;
	ino_t inode;
	struct shim_node node;
};

static struct {
	uint32_t opening; /* atomic: a thread is at a card; others yield meanwhile */
	uint32_t epoch;
	uint32_t cards_opened; /* atomic: of all times */
	struct xe_card *cards[SHIM_CARDS_MAX]; /* atomic */
	uint32_t nodes_known;                  /* atomic */
	uint32_t node_count;
	struct known_node nodes[2 * SHIM_CARDS_MAX];
} state = { .epoch = 1 };

void shim_log(const char *line)
{
	const char *path = shim_environment("USVM_LOG");
	char buffer[256];
	struct text text;
	int fd;

	if (!path)
		return;
	text_init(&text, buffer, sizeof(buffer));
	text_string(&text, "usvm-xe ");
	text_number(&text, (uint64_t)getpid());
	text_string(&text, ": ");
	text_string(&text, line);
	text_string(&text, "\n");
	fd = strcmp(path, "-") ? shim_real()->open(path, O_WRONLY | O_CREAT | O_APPEND, 0644) :
				 dup(STDERR_FILENO);
	if (fd < 0)
		return;
	if (write(fd, text.buffer, text.length_bytes) < 0)
		errno = 0;
	shim_real()->close(fd);
}

/* --- nodes --------------------------------------------------------------------------- */

static void learn_node(uint32_t card, const char *kind, uint32_t number, uint32_t minor)
{
	char path[64], buffer[SHIM_PATH_MAX];
	struct text text;
	struct stat st;

	text_init(&text, path, sizeof(path));
	text_string(&text, "/dev/dri/");
	text_string(&text, kind);
	text_number(&text, number);
	if (shim_real()->stat(shim_path(path, buffer), &st))
		return;
	state.nodes[state.node_count++] = (struct known_node){
		.device = st.st_dev,
		.inode = st.st_ino,
		.node = { .card = card, .minor = minor },
	};
}

static void lock(uint32_t *word)
{
	while (ATOMIC_EXCHANGE(word, 1))
		sched_yield();
}

static void unlock(uint32_t *word)
{
	ATOMIC_STORE(word, 0);
}

static void learn_nodes(void)
{
	lock(&state.opening);
	if (!state.nodes_known) {
		for (uint32_t i = 0; i < SHIM_CARDS_MAX; i++) {
			learn_node(i, "card", i, i);
			learn_node(i, "renderD", SHIM_RENDER_MINOR + i, SHIM_RENDER_MINOR + i);
		}
		ATOMIC_STORE_RELEASE(&state.nodes_known, 1);
	}
	unlock(&state.opening);
}

bool shim_find_node(const struct stat *st, struct shim_node *node)
{
	int saved = errno;

	if (!shim_is_on())
		return false;
	if (!ATOMIC_LOAD_ACQUIRE(&state.nodes_known))
		learn_nodes();
	errno = saved;
	for (uint32_t i = 0; i < state.node_count; i++) {
		if (state.nodes[i].inode == st->st_ino && state.nodes[i].device == st->st_dev) {
			*node = state.nodes[i].node;
			return true;
		}
	}
	return false;
}

void shim_pretend(struct stat *st)
{
	struct shim_node node;

	if (!shim_find_node(st, &node))
		return;
	st->st_mode = S_IFCHR | 0660;
	st->st_rdev = makedev(SHIM_DRM_MAJOR, node.minor);
	st->st_size = 0;
	st->st_blocks = 0;
}

/* --- cards --------------------------------------------------------------------------- */

/* A child of fork, maybe by a raw clone that no hook saw. */
static void notice_fork(void)
{
	if (!xe_is_forked())
		return;
	xe_process_forget();
	for (uint32_t i = 0; i < SHIM_CARDS_MAX; i++)
		ATOMIC_STORE(&state.cards[i], NULL);
	ATOMIC_ADD(&state.epoch, 1);
}

static uint64_t vram_bytes(void)
{
	const char *text = shim_environment("USVM_XE_VRAM");

	return text ? strtoull(text, NULL, 10) : 0;
}

/* Where processes of a run count what they have of a card's memory. */
static const char *pool_path(uint32_t index, char path[SHIM_PATH_MAX])
{
	const char *root = shim_environment("USVM_XE_ROOT");
	struct text text;

	if (!root)
		return NULL;
	text_init(&text, path, SHIM_PATH_MAX);
	text_string(&text, root);
	text_string(&text, "/pool/card");
	text_number(&text, index);
	return path;
}

static int open_card(uint32_t index)
{
	char pool[SHIM_PATH_MAX];
	const struct xe_card_config config = {
		.profile = shim_environment("USVM_XE_PROFILE"),
		.vram_bytes = vram_bytes(),
		.pool = pool_path(index, pool),
		.index = index,
		.place_on_device = shim_environment("USVM_XE_PLACEMENT") != NULL,
		.migrate = shim_environment("USVM_XE_MIGRATE"),
		.poison = shim_environment("USVM_XE_POISON") != NULL,
		.card_of = shim_card_of,
		.log = shim_log,
	};
	struct xe_card *card;
	int err = xe_card_open(&config, &card);

	if (!err) {
		ATOMIC_STORE(&state.cards[index], card);
		ATOMIC_ADD(&state.cards_opened, 1);
		shim_report_begin();
	}
	return err;
}

uint32_t shim_epoch(void)
{
	if (xe_is_forked()) {
		lock(&state.opening);
		notice_fork();
		unlock(&state.opening);
	}
	return ATOMIC_LOAD(&state.epoch);
}

int shim_card(uint32_t index, struct xe_card **card)
{
	int err = 0;

	shim_epoch();
	*card = ATOMIC_LOAD(&state.cards[index]);
	if (*card)
		return 0;
	lock(&state.opening);
	if (!state.cards[index])
		err = open_card(index);
	*card = state.cards[index];
	unlock(&state.opening);
	return err;
}

struct xe_card *shim_opened_card(uint32_t index)
{
	shim_epoch();
	return ATOMIC_LOAD(&state.cards[index]);
}

void shim_before_unmap(uint64_t addr, size_t bytes)
{
	if (!ATOMIC_LOAD_RELAXED(&state.cards_opened))
		return;
	shim_epoch();
	for (uint32_t i = 0; i < SHIM_CARDS_MAX; i++) {
		struct xe_card *card = ATOMIC_LOAD(&state.cards[i]);

		if (!card)
			continue;
		shim_card_enter();
		xe_before_unmap(card, addr, addr + bytes);
		shim_card_leave();
	}
}

/* The child has one thread, which was not at a card: but another may have been. */
__attribute__((constructor)) static void register_fork(void);

static void in_child(void)
{
	unlock(&state.opening);
}

static void register_fork(void)
{
	if (pthread_atfork(NULL, NULL, in_child))
		shim_log("no memory for a fork hook");
}

/* --- files that are written when they are opened ---------------------------------------- */

#define TEXT_BYTES_MAX 16384

static int card_of_stats(const char *path)
{
	static const char prefix[] = "/sys/kernel/debug/dri/";
	const char *at = strstr(path, prefix);
	const char *rest;

	if (!at)
		return -1;
	at += sizeof(prefix) - 1;
	if (*at < '0' || *at >= '0' + SHIM_CARDS_MAX)
		return -1;
	rest = at + 1;
	return strcmp(rest, "/gt0/stats") ? -1 : *at - '0';
}

int shim_memory_file(const char *name, const char *text, size_t bytes, int flags)
{
	int fd = memfd_create(name, flags & O_CLOEXEC ? MFD_CLOEXEC : 0);

	if (fd < 0)
		return -1;
	if (write(fd, text, bytes) == (ssize_t)bytes && !lseek(fd, 0, SEEK_SET))
		return fd;
	shim_real()->close(fd);
	return -1;
}

int shim_text_file(const char *path, int flags)
{
	static char text[TEXT_BYTES_MAX];
	int index = path && shim_is_on() ? card_of_stats(path) : -1;
	struct xe_card *card;
	size_t bytes;
	int fd;

	if (index < 0 || (flags & O_ACCMODE) != O_RDONLY || shim_card((uint32_t)index, &card))
		return -1;
	lock(&state.opening);
	bytes = xe_stats_text(card, text, sizeof(text));
	fd = shim_memory_file("stats", text, bytes, flags);
	unlock(&state.opening);
	return fd;
}
