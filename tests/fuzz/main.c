/* SPDX-License-Identifier: MIT */
/*
 * DOC: a fuzz target without an engine
 *
 *     PROGRAM FILE|FOLDER...
 *
 * Runs the target on each file, folders' files in the order of their names, and says how
 * many there were: a corpus as a test. A file that fails is named before it is run where
 * the output is a terminal's, and by FUZZ_CHECK()'s last words otherwise.
 */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz/fuzz.h"

static unsigned int file_count;

static void run_file(const char *path)
{
	FILE *file = fopen(path, "re");
	uint8_t *bytes = NULL;
	size_t count = 0;
	size_t room = 0;

	FUZZ_CHECK(file, "%s", path);
	while (!feof(file)) {
		if (count == room) {
			room = room ? 2 * room : 4096;
			bytes = realloc(bytes, room);
			FUZZ_CHECK(bytes, "no memory for %s", path);
		}
		count += fread(bytes + count, 1, room - count, file);
		FUZZ_CHECK(!ferror(file), "%s", path);
	}
	fclose(file);

	/* Known to who looks at a crash, unseen otherwise. */
	setenv("FUZZ_INPUT", path, 1);
	if (isatty(1))
		printf("%s\n", path);
	LLVMFuzzerTestOneInput(bytes, count);
	free(bytes);
	file_count++;
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void run_path(const char *path)
{
	struct dirent **entries;
	struct stat status;
	int count;

	FUZZ_CHECK(!stat(path, &status), "%s", path);
	if (!S_ISDIR(status.st_mode)) {
		run_file(path);
		return;
	}
	count = scandir(path, &entries, is_visible, alphasort);
	FUZZ_CHECK(count >= 0, "%s", path);
	for (int i = 0; i < count; i++) {
		char name[4096];

		snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
		run_file(name);
		free(entries[i]);
	}
	free(entries);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		run_path(argv[i]);
	printf("%u inputs\n", file_count);
	return file_count ? 0 : 1;
}
