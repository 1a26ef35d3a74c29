/* SPDX-License-Identifier: MIT */
/*
 * DOC: Descriptors
 *
 * A table by number says which descriptor is which open file; duplicates share one, as in
 * the kernel. It is plain memory: a child of fork inherits it as it inherits the
 * descriptors, and opens its own file of the card at the first ioctl.
 */
#include "shim/shim_internal.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "base/atomic.h"

#define DESCRIPTORS_MAX 65536
#define FILES_MAX 4096

struct open_file {
	uint32_t references; /* atomic; 0: free */
	uint32_t card;
	uint32_t epoch;      /* that file was opened in; under busy */
	uint32_t busy;       /* atomic: a thread opens it */
	struct xe_file *file; /* atomic; NULL: not opened yet */
};

static struct open_file files[FILES_MAX];
static uint16_t numbers[DESCRIPTORS_MAX]; /* atomic: index into files + 1; 0: not ours */

static struct open_file *file_of(int fd)
{
	uint16_t number;

	if (fd < 0 || fd >= DESCRIPTORS_MAX)
		return NULL;
	number = ATOMIC_LOAD(&numbers[fd]);
	return number ? &files[number - 1] : NULL;
}

static uint16_t claim(uint32_t card)
{
	for (uint16_t i = 0; i < FILES_MAX; i++) {
		uint32_t none = 0;

		if (ATOMIC_LOAD_RELAXED(&files[i].references) ||
		    !ATOMIC_COMPARE_EXCHANGE(&files[i].references, &none, 1))
			continue;
		files[i].card = card;
		files[i].epoch = 0;
		files[i].file = NULL;
		return (uint16_t)(i + 1);
	}
	return 0;
}

static void put(struct open_file *f)
{
	struct xe_file *file = f->file;
	bool is_ours = file && f->epoch == shim_epoch();

	if (ATOMIC_LOAD(&f->references) == 1 && is_ours) {
		f->file = NULL;
		shim_card_enter();
		xe_file_close(file);
		shim_card_leave();
	}
	ATOMIC_SUB(&f->references, 1);
}

int shim_opened(int fd)
{
	struct shim_node node;
	struct stat st;
	uint16_t number;

	if (fd < 0 || fd >= DESCRIPTORS_MAX || !shim_is_on())
		return fd;
	/* Closed by a way that passes us by, and opened again. */
	shim_closing(fd);
	if (shim_real()->fstat(fd, &st) || !S_ISREG(st.st_mode) || !shim_find_node(&st, &node))
		return fd;
	number = claim(node.card);
	if (!number) {
		shim_real()->close(fd);
		errno = ENFILE;
		return -1;
	}
	ATOMIC_STORE(&numbers[fd], number);
	return fd;
}

int shim_duplicated(int from, int to)
{
	struct open_file *f = file_of(from);

	if (to < 0 || to >= DESCRIPTORS_MAX || from == to)
		return to;
	shim_closing(to);
	if (f) {
		ATOMIC_ADD(&f->references, 1);
		ATOMIC_STORE(&numbers[to], (uint16_t)(f - files + 1));
	}
	return to;
}

void shim_closing(int fd)
{
	uint16_t number;
	int saved = errno;

	if (fd < 0 || fd >= DESCRIPTORS_MAX || !ATOMIC_LOAD_RELAXED(&numbers[fd]))
		return;
	number = ATOMIC_EXCHANGE(&numbers[fd], (uint16_t)0);
	if (number)
		put(&files[number - 1]);
	errno = saved;
}

bool shim_is_card(int fd)
{
	return file_of(fd) != NULL;
}

struct xe_card *shim_card_of(int fd)
{
	struct open_file *f = file_of(fd);
	struct xe_card *card;

	return f && !shim_card(f->card, &card) ? card : NULL;
}

static int open_file(struct open_file *f, uint32_t epoch, struct xe_file **file)
{
	struct xe_card *card;
	int err = 0;

	while (ATOMIC_EXCHANGE(&f->busy, 1))
		sched_yield();
	if (!f->file || f->epoch != epoch) {
		if (f->epoch && f->epoch != epoch)
			shim_log("fork: what the parent made through an inherited descriptor "
				 "is not here: ENOENT");
		ATOMIC_STORE(&f->file, NULL);
		err = shim_card(f->card, &card);
		if (!err)
			err = xe_file_open(card, file);
		if (!err) {
			f->epoch = shim_epoch();
			ATOMIC_STORE(&f->file, *file);
		}
	}
	*file = f->file;
	ATOMIC_STORE(&f->busy, 0);
	return err;
}

static int find_file(int fd, struct xe_file **file)
{
	struct open_file *f = file_of(fd);
	uint32_t epoch;

	if (!f)
		return -ENXIO;
	epoch = shim_epoch();
	*file = ATOMIC_LOAD(&f->file);
	return *file && f->epoch == epoch ? 0 : open_file(f, epoch, file);
}

int shim_ioctl(int fd, unsigned long request, uint64_t argument)
{
	struct xe_file *file;
	int err;

	shim_card_enter();
	err = find_file(fd, &file);
	if (!err)
		err = xe_ioctl(file, request, argument);
	shim_card_leave();
	return err;
}

int shim_map(int fd, uint64_t at, size_t bytes, bool writes, uint64_t offset, uint64_t *addr)
{
	struct xe_file *file;
	int err;

	shim_card_enter();
	err = find_file(fd, &file);
	if (!err)
		err = xe_map(file, at, bytes, writes, offset, addr);
	shim_card_leave();
	return err;
}

size_t shim_fdinfo_text(int fd, char *text, size_t bytes)
{
	struct xe_file *file;
	size_t written = 0;

	shim_card_enter();
	if (!find_file(fd, &file))
		written = xe_fdinfo_text(file, text, bytes);
	shim_card_leave();
	return written;
}
