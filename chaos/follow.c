/* SPDX-License-Identifier: MIT */
/*
 * DOC: programs that follow
 *
 * The agent comes into a program by two variables of its environment, and takes them
 * out before the program looks: what it prints, and hands to its children, is what it
 * was given. So each way to start another program is a function here, which gives the
 * variables to that one alone, also where the program makes an environment of its own.
 *
 *     exec, posix_spawn   the caller's environment and two words more, on the stack: it
 *                         may be a child of vfork(), in which nothing else is its own
 *     system, popen       use the process's environment: the variables are lent to it
 *                         for the call
 *     _exit               ends the process without destructors: it counts before
 *
 * Where the next program could not load the agent (another root, other rights) it gets
 * nothing: the dynamic linker would complain, and the program's standard error differ.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "sys/linux_syscall.h"

#define PUBLIC __attribute__((visibility("default")))

#define PRELOAD "LD_PRELOAD"
#define WORDS_MAX 8192
#define PATH_BYTES 4096

extern char **environ;

static char library[PATH_BYTES];  /* as LD_PRELOAD names it; "": nobody follows */
static char variable[PATH_BYTES]; /* USVM_CHAOS=... */

static struct {
	int (*execvpe)(const char *file, char *const argv[], char *const envp[]);
	int (*posix_spawn)(pid_t *pid, const char *path,
			   const posix_spawn_file_actions_t *actions,
			   const posix_spawnattr_t *attr, char *const argv[],
			   char *const envp[]);
	int (*posix_spawnp)(pid_t *pid, const char *file,
			    const posix_spawn_file_actions_t *actions,
			    const posix_spawnattr_t *attr, char *const argv[],
			    char *const envp[]);
	int (*system)(const char *command);
	FILE *(*popen)(const char *command, const char *type);
} real;

/* --- what the environment has ------------------------------------------------- */

/* The value in @word of variable @name, or NULL. */
static char *value_of(char *word, const char *name)
{
	size_t length = strlen(name);

	return strncmp(word, name, length) == 0 && word[length] == '=' ? word + length + 1 :
									 NULL;
}

static void remove_word(char **at)
{
	do {
		at[0] = at[1];
	} while (*at++);
}

/* LD_PRELOAD is ours, then the program's if it has one: take the first part away. */
static void hide_preload(char **at, char *value)
{
	size_t length = strcspn(value, ":");

	if (length >= sizeof(library))
		return;
	memcpy(library, value, length);
	library[length] = '\0';
	if (value[length] == ':')
		memmove(value, value + length + 1, strlen(value + length + 1) + 1);
	else
		remove_word(at);
}

/* Also before the agent's constructor, for those of other libraries. */
static void find_real(void)
{
	if (real.popen)
		return;
	*(void **)&real.execvpe = dlsym(RTLD_NEXT, "execvpe");
	*(void **)&real.posix_spawn = dlsym(RTLD_NEXT, "posix_spawn");
	*(void **)&real.posix_spawnp = dlsym(RTLD_NEXT, "posix_spawnp");
	*(void **)&real.system = dlsym(RTLD_NEXT, "system");
	*(void **)&real.popen = dlsym(RTLD_NEXT, "popen");
}

const char *follow_init(char **envp)
{
	char **preload = NULL, **shared = NULL;

	find_real();
	for (char **at = envp; *at; at++) {
		if (value_of(*at, PRELOAD))
			preload = at;
		else if (value_of(*at, CHAOS_VARIABLE))
			shared = at;
	}
	if (!preload || !shared || strlen(*shared) >= sizeof(variable))
		return NULL;
	memcpy(variable, *shared, strlen(*shared) + 1);
	/* The later of the two first: the other stays where it is. */
	if (shared > preload)
		remove_word(shared);
	hide_preload(preload, value_of(*preload, PRELOAD));
	if (shared < preload)
		remove_word(shared);
	return value_of(variable, CHAOS_VARIABLE);
}

/* --- what the next program gets -------------------------------------------------- */

static bool can_follow(void)
{
	int64_t err;

	if (!library[0])
		return false;
	err = linux_call(SYS_faccessat2, AT_FDCWD, library, R_OK, AT_EACCESS);
	return err == 0 ||
	       (err == -ENOSYS && !linux_call(SYS_faccessat, AT_FDCWD, library, R_OK));
}

/* How much room follow() wants: pointers, and bytes for the text of LD_PRELOAD. */
static size_t words_wanted(char *const envp[])
{
	size_t count = 0;

	while (envp && envp[count] && count < WORDS_MAX)
		count++;
	return count + 3;
}

static size_t text_wanted(char *const envp[])
{
	size_t bytes = sizeof(PRELOAD) + 1 + strlen(library) + 1;

	for (size_t i = 0; envp && envp[i]; i++) {
		char *value = value_of(envp[i], PRELOAD);

		if (value)
			return bytes + strlen(value);
	}
	return bytes;
}

/* @envp with the agent's variables, or @envp itself where nobody is to follow. */
static char *const *follow(char *const envp[], char **words, char *text)
{
	char *end = stpcpy(stpcpy(text, PRELOAD "="), library);
	bool has_preload = false;
	size_t n = 0;

	if (words_wanted(envp) > WORDS_MAX || !can_follow())
		return envp;
	for (size_t i = 0; envp && envp[i]; i++) {
		char *value = value_of(envp[i], PRELOAD);

		if (value_of(envp[i], CHAOS_VARIABLE))
			continue;
		if (!value || has_preload) {
			words[n++] = envp[i];
			continue;
		}
		has_preload = true;
		stpcpy(stpcpy(end, ":"), value);
		words[n++] = text;
	}
	if (!has_preload)
		words[n++] = text;
	words[n++] = variable;
	words[n] = NULL;
	return words;
}

#define FOLLOW(envp)                                       \
	char *words_[words_wanted(envp)];                  \
	char text_[text_wanted(envp)];                     \
	char *const *followed = follow(envp, words_, text_)

static int result_of(int64_t err)
{
	errno = (int)-err;
	return -1;
}

PUBLIC int execve(const char *path, char *const argv[], char *const envp[])
{
	FOLLOW(envp);

	return result_of(linux_call(SYS_execve, path, argv, followed));
}

PUBLIC int execveat(int fd, const char *path, char *const argv[], char *const envp[], int flags)
{
	FOLLOW(envp);

	return result_of(linux_call(SYS_execveat, fd, path, argv, followed, flags));
}

PUBLIC int fexecve(int fd, char *const argv[], char *const envp[])
{
	if (fd < 0)
		return result_of(-EINVAL);
	return execveat(fd, "", argv, envp, AT_EMPTY_PATH);
}

PUBLIC int execv(const char *path, char *const argv[])
{
	return execve(path, argv, environ);
}

PUBLIC int execvpe(const char *file, char *const argv[], char *const envp[])
{
	FOLLOW(envp);

	find_real();
	return real.execvpe(file, argv, followed);
}

PUBLIC int execvp(const char *file, char *const argv[])
{
	return execvpe(file, argv, environ);
}

/* The arguments of a variadic exec as a vector on the stack, and what follows them. */
#define GATHER(argv, first, args)                                              \
	va_list args;                                                          \
	size_t count_ = 1;                                                     \
	va_start(args, first);                                                 \
	while (va_arg(args, char *))                                           \
		count_++;                                                      \
	va_end(args);                                                          \
	char *argv[count_ + 1];                                                \
	va_start(args, first);                                                 \
	argv[0] = (char *)(uintptr_t)(first);                                  \
	for (size_t i_ = 1; i_ <= count_; i_++)                                \
		argv[i_] = va_arg(args, char *)

PUBLIC int execl(const char *path, const char *first, ...)
{
	GATHER(argv, first, args);
	va_end(args);
	return execve(path, argv, environ);
}

PUBLIC int execlp(const char *file, const char *first, ...)
{
	GATHER(argv, first, args);
	va_end(args);
	return execvpe(file, argv, environ);
}

PUBLIC int execle(const char *path, const char *first, ...)
{
	GATHER(argv, first, args);
	char *const *envp = va_arg(args, char *const *);

	va_end(args);
	return execve(path, argv, envp);
}

PUBLIC int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
		       const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
	FOLLOW(envp);

	find_real();
	return real.posix_spawn(pid, path, actions, attr, argv, followed);
}

PUBLIC int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
			const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
	FOLLOW(envp);

	find_real();
	return real.posix_spawnp(pid, file, actions, attr, argv, followed);
}

/* --- what is lent ------------------------------------------------------------------ */

static pthread_mutex_t lending = PTHREAD_MUTEX_INITIALIZER;
static uint32_t borrowers; /* under lending */
static char *preload_before;

static void lend(void)
{
	char *const *envp = environ;

	pthread_mutex_lock(&lending);
	if (can_follow() && borrowers++ == 0) {
		char *words[words_wanted(envp)];
		char text[text_wanted(envp)];

		preload_before = getenv(PRELOAD);
		follow(envp, words, text);
		setenv(PRELOAD, text + sizeof(PRELOAD), 1);
		setenv(CHAOS_VARIABLE, value_of(variable, CHAOS_VARIABLE), 1);
	}
	pthread_mutex_unlock(&lending);
}

static void give_back(void)
{
	int before = errno;

	pthread_mutex_lock(&lending);
	if (borrowers && --borrowers == 0) {
		unsetenv(CHAOS_VARIABLE);
		if (preload_before)
			setenv(PRELOAD, preload_before, 1);
		else
			unsetenv(PRELOAD);
	}
	pthread_mutex_unlock(&lending);
	errno = before;
}

void follow_child(void)
{
	pthread_mutex_init(&lending, NULL);
	/* Another thread was in system() when this one forked. */
	if (borrowers) {
		borrowers = 1;
		give_back();
	}
}

PUBLIC int system(const char *command)
{
	int result;

	find_real();
	if (!command)
		return real.system(NULL);
	lend();
	result = real.system(command);
	give_back();
	return result;
}

PUBLIC FILE *popen(const char *command, const char *type)
{
	FILE *stream;

	find_real();
	lend();
	stream = real.popen(command, type);
	give_back();
	return stream;
}

/* --- the end --------------------------------------------------------------------------- */

PUBLIC void _exit(int status)
{
	agent_leave();
	for (;;)
		linux_call(SYS_exit_group, status);
}

PUBLIC void _Exit(int status)
{
	_exit(status);
}
