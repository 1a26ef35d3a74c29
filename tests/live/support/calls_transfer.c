/* SPDX-License-Identifier: MIT */
/*
 * DOC: Calls that read or write a whole area
 *
 * Every call goes through the kernel's own way to the memory: copies by read(2) and
 * its like, pages that are pinned by O_DIRECT, io_uring and process_vm_readv(2), pages
 * that are handed out by vmsplice(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "live/support/calls.h"

#define CHUNK (16 * LIVE_PAGE) /* what a pipe or a socket holds */
#define PARTS 4

/* Moves all of @from's @bytes out and in again; the kernel may do less at a time. */
static int drain(int fd, unsigned char *to, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t got = read(fd, to + done, bytes - done);

		if (got <= 0)
			return got ? -errno : -EPIPE;
		done += (size_t)got;
	}
	return 0;
}

static int feed(int fd, const unsigned char *from, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t put = write(fd, from + done, bytes - done);

		if (put < 0)
			return -errno;
		done += (size_t)put;
	}
	return 0;
}

static void cut(struct iovec *parts, unsigned char *at, size_t bytes)
{
	for (size_t i = 0; i < PARTS; i++)
		parts[i] = (struct iovec){ at + i * (bytes / PARTS), bytes / PARTS };
}

/* --- through a pipe or a socket ---------------- */

enum through { WITH_WRITE, WITH_SEND, WITH_SENDMSG, WITH_VMSPLICE };

static ssize_t put_some(enum through how, int fd, unsigned char *at, size_t bytes)
{
	struct iovec all = { at, bytes };
	struct msghdr message = { .msg_iov = &all, .msg_iovlen = 1 };

	switch (how) {
	case WITH_SEND:
		return send(fd, at, bytes, MSG_NOSIGNAL);
	case WITH_SENDMSG:
		return sendmsg(fd, &message, MSG_NOSIGNAL);
	case WITH_VMSPLICE:
		return vmsplice(fd, &all, 1, 0);
	default:
		return write(fd, at, bytes);
	}
}

static ssize_t get_some(enum through how, int fd, unsigned char *at, size_t bytes)
{
	struct iovec all = { at, bytes };
	struct msghdr message = { .msg_iov = &all, .msg_iovlen = 1 };

	switch (how) {
	case WITH_SEND:
		return recv(fd, at, bytes, 0);
	case WITH_SENDMSG:
		return recvmsg(fd, &message, 0);
	default:
		return read(fd, at, bytes);
	}
}

static void open_ends(enum through how, int ends[2])
{
	if (how == WITH_SEND || how == WITH_SENDMSG)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	else
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
}

static int put_all(struct call_area *a, enum through how)
{
	int ends[2], err = 0;

	open_ends(how, ends);
	for (size_t done = 0; done < a->bytes && !err;) {
		ssize_t put = put_some(how, ends[1], a->at + done, CHUNK);

		if (put < 0) {
			err = -errno;
			break;
		}
		err = drain(ends[0], a->other + done, (size_t)put);
		done += (size_t)put;
	}
	close(ends[0]);
	close(ends[1]);
	return err;
}

static int get_all(struct call_area *a, enum through how)
{
	int ends[2], err = 0;

	open_ends(how, ends);
	for (size_t done = 0; done < a->bytes && !err; done += CHUNK) {
		err = feed(ends[1], a->other + done, CHUNK);
		for (size_t part = 0; part < CHUNK && !err;) {
			ssize_t got = get_some(how, ends[0], a->at + done + part, CHUNK - part);

			if (got < 0)
				err = -errno;
			part += got > 0 ? (size_t)got : 0;
		}
	}
	close(ends[0]);
	close(ends[1]);
	return err;
}

static int write_pipe(struct call_area *a)
{
	return put_all(a, WITH_WRITE);
}

static int read_pipe(struct call_area *a)
{
	return get_all(a, WITH_WRITE);
}

static int send_stream(struct call_area *a)
{
	return put_all(a, WITH_SEND);
}

static int recv_stream(struct call_area *a)
{
	return get_all(a, WITH_SEND);
}

static int send_message(struct call_area *a)
{
	return put_all(a, WITH_SENDMSG);
}

static int recv_message(struct call_area *a)
{
	return get_all(a, WITH_SENDMSG);
}

/* The pipe is drained while the pages are where they were spliced: see limits.md. */
static int vmsplice_pipe(struct call_area *a)
{
	return put_all(a, WITH_VMSPLICE);
}

/* --- a file ---------------- */

enum file_call { ONE, AT, VECTOR, VECTOR_AT, DIRECT };

static ssize_t file_write(enum file_call how, int fd, unsigned char *at, size_t bytes)
{
	struct iovec parts[PARTS];

	cut(parts, at, bytes);
	switch (how) {
	case ONE:
		return write(fd, at, bytes);
	case VECTOR:
		return writev(fd, parts, PARTS);
	case VECTOR_AT:
		return pwritev(fd, parts, PARTS, 0);
	default:
		return pwrite(fd, at, bytes, 0);
	}
}

static ssize_t file_read(enum file_call how, int fd, unsigned char *at, size_t bytes)
{
	struct iovec parts[PARTS];

	cut(parts, at, bytes);
	switch (how) {
	case ONE:
		return read(fd, at, bytes);
	case VECTOR:
		return readv(fd, parts, PARTS);
	case VECTOR_AT:
		return preadv(fd, parts, PARTS, 0);
	default:
		return pread(fd, at, bytes, 0);
	}
}

static int file_call(struct call_area *a, enum file_call how, bool writes)
{
	int fd = call_file(how == DIRECT ? O_DIRECT : 0), err = 0;
	ssize_t done;

	if (fd < 0 && how == DIRECT) {
		a->why = "no O_DIRECT in $TMPDIR or /var/tmp";
		return CALL_SKIPPED;
	}
	assert_true(fd >= 0);
	if (!writes) {
		assert_int_equal(pwrite(fd, a->other, a->bytes, 0), a->bytes);
		done = file_read(how, fd, a->at, a->bytes);
	} else {
		done = file_write(how, fd, a->at, a->bytes);
	}
	if (done != (ssize_t)a->bytes)
		err = done < 0 ? -errno : -EIO;
	else if (writes)
		assert_int_equal(pread(fd, a->other, a->bytes, 0), a->bytes);
	close(fd);
	return err;
}

#define DEFINE_FILE_CALLS(name, how)                       \
	static int write_##name(struct call_area *a)       \
	{                                                  \
		return file_call(a, how, true);            \
	}                                                  \
	static int read_##name(struct call_area *a)        \
	{                                                  \
		return file_call(a, how, false);           \
	}

DEFINE_FILE_CALLS(file, ONE)
DEFINE_FILE_CALLS(file_at, AT)
DEFINE_FILE_CALLS(file_vector, VECTOR)
DEFINE_FILE_CALLS(file_vector_at, VECTOR_AT)
DEFINE_FILE_CALLS(file_direct, DIRECT)

static int uring_write(struct call_area *a)
{
	int fd = call_file(0), err;

	assert_true(fd >= 0);
	err = call_uring_fixed(fd, true, a->at, a->bytes, &a->why, NULL, NULL);
	if (!err)
		assert_int_equal(pread(fd, a->other, a->bytes, 0), a->bytes);
	close(fd);
	return err;
}

static int uring_read(struct call_area *a)
{
	int fd = call_file(0), err;

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, a->other, a->bytes, 0), a->bytes);
	err = call_uring_fixed(fd, false, a->at, a->bytes, &a->why, NULL, NULL);
	close(fd);
	return err;
}

/* --- process_vm_readv, process_vm_writev --------------------------------------- */

typedef ssize_t copy_fn(pid_t pid, const struct iovec *local, unsigned long local_count,
			const struct iovec *remote, unsigned long remote_count,
			unsigned long flags);

static int copy(copy_fn *call, pid_t pid, unsigned char *local, unsigned char *remote,
		size_t bytes)
{
	struct iovec mine = { local, bytes }, theirs = { remote, bytes };
	ssize_t done = call(pid, &mine, 1, &theirs, 1, 0);

	if (done == (ssize_t)bytes)
		return 0;
	return done < 0 ? -errno : -EIO;
}

static int own_read_from(struct call_area *a)
{
	return copy(process_vm_readv, getpid(), a->other, a->at, a->bytes);
}

static int own_read_to(struct call_area *a)
{
	return copy(process_vm_readv, getpid(), a->at, a->other, a->bytes);
}

static int own_write_from(struct call_area *a)
{
	return copy(process_vm_writev, getpid(), a->at, a->other, a->bytes);
}

static int own_write_to(struct call_area *a)
{
	return copy(process_vm_writev, getpid(), a->other, a->at, a->bytes);
}

/* A child that was made before there was memory to bring home or to share. Each byte it
 * is sent is an order: 'r' or 'w', from or to the parent's memory. */
static void start_helper(struct call_area *a)
{
	pid_t parent = getpid(), pid;
	char order;

	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); /* where Yama asks for it */
	assert_int_equal(pipe2(a->to_helper, O_CLOEXEC) | pipe2(a->from_helper, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid) {
		a->helper = pid;
		return;
	}
	close(a->to_helper[1]);
	while (read(a->to_helper[0], &order, 1) == 1) {
		copy_fn *call = order == 'r' ? process_vm_readv : process_vm_writev;

		a->helper_result = copy(call, parent, a->other, a->at, a->bytes);
		if (write(a->from_helper[1], &order, 1) != 1)
			break;
	}
	_exit(0);
}

static void end_helper(struct call_area *a)
{
	close(a->to_helper[1]);
	live_wait_exit(a->helper, 0);
	close(a->to_helper[0]);
	close(a->from_helper[0]);
	close(a->from_helper[1]);
}

static int order(struct call_area *a, char what)
{
	assert_int_equal(write(a->to_helper[1], &what, 1), 1);
	assert_int_equal(read(a->from_helper[0], &what, 1), 1);
	if (a->helper_result != -EPERM)
		return a->helper_result;
	a->why = "a child may not look into its parent here";
	return CALL_SKIPPED;
}

static int child_reads(struct call_area *a)
{
	return order(a, 'r');
}

static int child_writes(struct call_area *a)
{
	return order(a, 'w');
}

/* --- advice, locks ---------------- */

static int result_of(int result)
{
	return result < 0 ? -errno : result;
}

static int populate_read(struct call_area *a)
{
	return result_of(madvise(a->at, a->bytes, MADV_POPULATE_READ));
}

static int populate_write(struct call_area *a)
{
	return result_of(madvise(a->at, a->bytes, MADV_POPULATE_WRITE));
}

static int lock_memory(struct call_area *a)
{
	/* Not by the C library's functions, which sanitizers replace by nothing. */
	int err = result_of((int)syscall(SYS_mlock, a->at, a->bytes));

	/* A lock that failed half way holds what it has. */
	syscall(SYS_munlock, a->at, a->bytes);
	return err;
}

const struct call transfer_calls[] = {
	{ "write to a pipe", CALL_READS, -EFAULT, .act = write_pipe },
	{ "read from a pipe", CALL_WRITES, -EFAULT, .act = read_pipe },
	{ "send", CALL_READS, -EFAULT, .act = send_stream },
	{ "recv", CALL_WRITES, -EFAULT, .act = recv_stream },
	{ "sendmsg", CALL_READS, -EFAULT, .act = send_message },
	{ "recvmsg", CALL_WRITES, -EFAULT, .act = recv_message },
	{ "vmsplice", CALL_READS, -EFAULT, .act = vmsplice_pipe },
	{ "write to a file", CALL_READS, -EFAULT, .act = write_file },
	{ "read from a file", CALL_WRITES, -EFAULT, .act = read_file },
	{ "pwrite", CALL_READS, -EFAULT, .act = write_file_at },
	{ "pread", CALL_WRITES, -EFAULT, .act = read_file_at },
	{ "writev", CALL_READS, -EFAULT, .act = write_file_vector },
	{ "readv", CALL_WRITES, -EFAULT, .act = read_file_vector },
	{ "pwritev", CALL_READS, -EFAULT, .act = write_file_vector_at },
	{ "preadv", CALL_WRITES, -EFAULT, .act = read_file_vector_at },
	{ "write with O_DIRECT", CALL_READS, -EFAULT, .act = write_file_direct },
	{ "read with O_DIRECT", CALL_WRITES, -EFAULT, .act = read_file_direct },
	{ "io_uring write of a registered buffer", CALL_READS, -EFAULT, .act = uring_write },
	{ "io_uring read into a registered buffer", CALL_WRITES, -EFAULT, .act = uring_read },
	{ "process_vm_readv from it", CALL_READS, -EFAULT, .act = own_read_from },
	{ "process_vm_readv to it", CALL_WRITES, -EFAULT, .act = own_read_to },
	{ "process_vm_writev from it", CALL_READS, -EFAULT, .act = own_write_from },
	{ "process_vm_writev to it", CALL_WRITES, -EFAULT, .act = own_write_to },
	{ "process_vm_readv by a child", CALL_READS, -EFAULT, .begin = start_helper,
	  .act = child_reads, .end = end_helper },
	{ "process_vm_writev by a child", CALL_WRITES, -EFAULT, .begin = start_helper,
	  .act = child_writes, .end = end_helper },
	{ "MADV_POPULATE_READ", CALL_TOUCHES, -EFAULT, .act = populate_read },
	{ "MADV_POPULATE_WRITE", CALL_TOUCHES, -EFAULT, .act = populate_write },
	{ "mlock", CALL_TOUCHES, -ENOMEM, .act = lock_memory },
};
const size_t transfer_call_count = sizeof(transfer_calls) / sizeof(transfer_calls[0]);
