#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Check the house style. Prints "path:line: rule: what", exits 1 if anything.

    tidy.py [--root DIR]

A rule is a generator that is given the tree and yields (path, line, what). Its
name is the function's; tests/tidy/samples/<rule>/ is a small tree that breaks
it, with the lines that must be reported in `expected`.
"""

import argparse
import errno
import os
import re
import sys

COLUMNS_MAX = 100
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800
TAB = 8

SKIPPED_FOLDERS = {'.git', '__pycache__', 'samples', 'subprojects'}
CODE = ('.c', '.h', '.S', '.py', '.sh')


class File:
    """One file: its text, and for C its text without comments and strings."""

    def __init__(self, root, path):
        self.path = path
        self.name = os.path.basename(path)
        self.folder = os.path.dirname(path)
        with open(os.path.join(root, path), encoding='utf-8', errors='replace') as file:
            self.text = file.read()
        self.lines = self.text.splitlines()
        self.is_c = path.endswith(('.c', '.h'))
        self.is_header = path.endswith('.h')
        self.is_code = (path.endswith(CODE) or self.name in ('meson.build', 'Makefile') or
                        self.text.startswith('#!'))
        self.in_src = path.startswith('src/')
        self.layer = path.split('/')[1] if self.in_src and path.count('/') > 1 else ''
        self.code = blank_comments(self.text) if self.is_c else self.text

    def code_lines(self):
        return enumerate(self.code.splitlines(), 1)

    def line_of(self, position):
        return self.text.count('\n', 0, position) + 1


class Tree:
    def __init__(self, root):
        self.root = root
        self.files = {}
        for folder, folders, names in os.walk(root):
            if 'meson-private' in folders:  # a build
                folders.clear()
                continue
            folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
            for name in sorted(names):
                path = os.path.relpath(os.path.join(folder, name), root)
                if name.endswith(CODE + ('.md', '.map', '.txt', '.1')) or \
                        name in ('meson.build', 'Makefile', 'run'):
                    self.files[path] = File(root, path)

    def c_files(self):
        return [file for file in self.files.values() if file.is_c]

    def code_files(self):
        return [file for file in self.files.values() if file.is_code]

    def text(self, path):
        return self.files[path].text if path in self.files else ''


COMMENT_OR_STRING = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank_comments(text):
    """C without comments and without the insides of strings; positions stay."""
    def blank(found):
        part = found.group(0)
        if part[0] in '"\'':
            return part[0] + ' ' * (len(part) - 2) + part[0]
        return re.sub(r'[^\n]', ' ', part)
    return COMMENT_OR_STRING.sub(blank, text)


# --- calls -------------------------------------------------------------------

def in_layers_but(*layers):
    return lambda file: file.in_src and file.layer not in layers


def everywhere_but_sys(file):
    return file.layer != 'sys'


BANNED = [
    # names, where they are banned, what to use
    (r'pthread_(?:mutex|rwlock|cond|spin|barrier)_\w+', in_layers_but('base', 'sys'),
     'use struct lock (base/lock.h) and base/wait.h'),
    (r'mmap|munmap|mremap|mprotect|madvise|ioctl|syscall', in_layers_but('sys', 'shim'),
     'only sys makes system calls: use struct sys_ops'),
    (r'u?sleep|nanosleep|clock_nanosleep', everywhere_but_sys,
     'wait for the event, not for the clock'),
    (r'rand|srand|rand_r|random|srandom|drand48', lambda file: True,
     'use base/prng.h with a seed that is printed'),
    (r'strcpy|strcat|sprintf|vsprintf|gets', lambda file: True,
     'use a function that knows the size'),
    (r'malloc|calloc|realloc|free|aligned_alloc|posix_memalign|strdup|strndup',
     in_layers_but(), 'the program\'s heap may be on the device: use base/pool.h'),
    # shim stands in front of the C library: a program's fopen() is one of its functions.
    (r'fopen', in_layers_but('shim'),
     'the library has no stdio: use base/trace.h or base/text.h'),
    (r'printf|fprintf|vprintf|vfprintf|dprintf|puts|fputs|putchar|fputc|perror',
     in_layers_but(), 'the library has no stdio: use base/trace.h or base/text.h'),
]
# Not a member (x.free), not a declaration's part of a longer name.
BANNED_CALLS = [(re.compile(r'(?<![\w.])(?<!->)(' + names + r')\s*\('), where, instead)
                for names, where, instead in BANNED]


def banned_call(tree):
    for file in tree.c_files():
        for names, where, instead in BANNED_CALLS:
            if not where(file):
                continue
            for number, line in file.code_lines():
                for found in names.finditer(line):
                    yield file.path, number, f'{found.group(1)}(): {instead}'


UFFD_NAME = re.compile(r'\b(UFFD(?:IO)?_\w+|(?:SYS|__NR)_userfaultfd|userfaultfd)\b')


def uffd_name(tree):
    """The kernel's names for userfaultfd stay inside sys."""
    for file in tree.c_files():
        if not file.in_src or file.layer == 'sys':
            continue
        for number, line in file.code_lines():
            for found in UFFD_NAME.finditer(line):
                yield file.path, number, f'{found.group(1)} outside of src/sys'


# --- words and blanks ----------------------------------------------------------

UNFINISHED = re.compile(r'\b(TO' r'DO|FIX' r'ME|XX' r'X)\b')


def unfinished_word(tree):
    for file in tree.files.values():
        for number, line in enumerate(file.lines, 1):
            found = UNFINISHED.search(line)
            if found:
                yield (file.path, number,
                       f'{found.group(1)}: finish it, or NEEDSWORK: and what would settle it')


def trailing_blank(tree):
    for file in tree.files.values():
        for number, line in enumerate(file.lines, 1):
            if line != line.rstrip():
                yield file.path, number, 'blanks at the end of the line'
        if file.text and not file.text.endswith('\n'):
            yield file.path, len(file.lines), 'no newline at the end of the file'
        elif file.text.endswith('\n\n'):
            yield file.path, len(file.lines), 'empty lines at the end of the file'


def indentation(tree):
    """C: tabs, then at most 7 blanks to align. Python and meson: blanks."""
    for file in tree.code_files():
        is_blanks = file.name.endswith('.py') or file.name == 'meson.build'
        if not file.is_c and not is_blanks:
            continue
        before = ''
        for number, line in enumerate(file.lines, 1):
            lead = line[:len(line) - len(line.lstrip())]
            if is_blanks:
                if '\t' in lead:
                    yield file.path, number, 'a tab in the indentation'
                continue
            if ' \t' in lead:
                yield file.path, number, 'a blank before a tab'
            elif ' ' * TAB in lead and line.strip() != '\\': # an empty line of a macro
                yield file.path, number, 'blanks where a tab belongs'
            elif re.match(r' {2,7}[^ *]', line) and before.endswith((';', '{', '}')):
                yield file.path, number, 'indented by blanks'
            before = line.rstrip()


# --- sizes ---------------------------------------------------------------------

def line_length(tree):
    for file in tree.code_files():
        for number, line in enumerate(file.lines, 1):
            columns = len(line.expandtabs(TAB))
            if columns > COLUMNS_MAX:
                yield file.path, number, f'{columns} columns (at most {COLUMNS_MAX})'


def function_length(tree):
    """A function is what stands between { and } in the first column."""
    for file in tree.c_files():
        start = 0
        for number, line in file.code_lines():
            if line.rstrip() == '{':
                start = number
            elif line.startswith('}') and start:
                length = number - start + 1
                if length > FUNCTION_LINES_MAX:
                    yield (file.path, start,
                           f'a function of {length} lines (at most {FUNCTION_LINES_MAX})')
                start = 0


def file_length(tree):
    for file in tree.code_files():
        if len(file.lines) > FILE_LINES_MAX:
            yield (file.path, FILE_LINES_MAX,
                   f'{len(file.lines)} lines (at most {FILE_LINES_MAX})')


# --- heads ---------------------------------------------------------------------

# Nothing but a list of files.
LIST_OF_FILES = re.compile(r'(src|tests/unit)/\w+/meson\.build')


def missing_spdx(tree):
    for file in tree.files.values():
        if not (file.is_code or file.name in ('meson_options.txt', 'usvm.map')):
            continue
        if LIST_OF_FILES.fullmatch(file.path):
            continue
        if file.is_c:
            if file.lines[:1] != ['/* SPDX-License-Identifier: MIT */']:
                yield file.path, 1, 'the first line is not /* SPDX-License-Identifier: MIT */'
        elif not any('SPDX-License-Identifier: MIT' in line for line in file.lines[:2]):
            yield file.path, 1, 'no SPDX-License-Identifier: MIT in the first two lines'


def header_guard(tree):
    """src/mm/entry.h: MM_ENTRY_H; include/usvm/usvm.h: USVM_USVM_H or USVM_H."""
    for file in tree.c_files():
        if not file.is_header:
            continue
        found = re.search(r'^#ifndef (\w+)\n#define (\w+)\n', file.text, re.M)
        if not found or found.group(1) != found.group(2):
            yield file.path, 1, 'no header guard'
            continue
        top = file.path.split('/', 1)
        if top[0] not in ('src', 'include'):
            continue
        wanted = re.sub(r'\W', '_', top[1]).upper()
        if found.group(1) not in (wanted, re.sub(r'^(\w+?)_\1_', r'\1_', wanted)):
            yield file.path, file.line_of(found.start()), f'the guard is not {wanted}'


# --- what must be written down elsewhere -----------------------------------------

ERRNO = re.compile(r'-(E[A-Z0-9]+)\b')


def unknown_errno(tree):
    known = set(re.findall(r'\bE[A-Z0-9]+\b', tree.text('docs/errors.md')))
    for file in tree.c_files():
        if not file.in_src or file.is_header:
            continue
        told = set()
        for number, line in file.code_lines():
            for name in ERRNO.findall(line):
                if name in errno.errorcode.values() and name not in known | told:
                    yield file.path, number, f'-{name} is not in docs/errors.md'
                    told.add(name)


GUARANTEE = re.compile(r'/\*\s*([A-Z][0-9]+(?:,\s*[A-Z][0-9]+)*)\s*\*/')


def unknown_guarantee(tree):
    """A comment that is a letter and a number cites docs/concurrency.md."""
    known = set(re.findall(r'^[\s#>*|`-]*([A-Z][0-9]+)\b', tree.text('docs/concurrency.md'),
                           re.M))
    for file in tree.c_files():
        if not file.in_src:
            continue
        for found in GUARANTEE.finditer(file.text):
            for name in re.split(r',\s*', found.group(1)):
                if name not in known:
                    yield (file.path, file.line_of(found.start()),
                           f'docs/concurrency.md has no {name}')


def unlisted_source(tree):
    """Every .c is named by the meson.build of its folder or of one above."""
    for file in tree.files.values():
        if not file.name.endswith(('.c', '.S')):
            continue
        folder, inside, is_listed = file.folder, file.name, False
        while not is_listed:
            text = tree.text(os.path.join(folder, 'meson.build'))
            is_listed = f"'{inside}'" in text or any(
                inside.endswith(suffix) and f"'{inside.removesuffix(suffix)}'" in text
                for suffix in re.findall(r"\+ '([^']*\.[cS])'", text))  # a loop over names
            if not folder:
                break
            inside = os.path.join(os.path.basename(folder), inside)
            folder = os.path.dirname(folder)
        if not is_listed:
            yield file.path, 1, f'{file.folder}/meson.build does not name {file.name}'


# --- the public contract ---------------------------------------------------------

CPLUSPLUS = re.compile(r'^#ifdef __cplusplus\n.*?^#endif', re.M | re.S)
DIRECTIVE = re.compile(r'^[ \t]*#(?:[^\n]*\\\n)*[^\n]*', re.M)
COMMENT = re.compile(r'/\*.*?\*/', re.S)
FUNCTION = re.compile(r'(\w+)\s*\((?!\s*\*)')
MARKS = {'MUST_CHECK', 'USVM_API', 'USVM_MUST_CHECK', '__attribute__'}


def declarations(text):
    """(position, text) of each declaration outside of braces that ends in ';'."""
    depth, start = 0, 0
    for position, letter in enumerate(text):
        if letter == '{':
            depth += 1
        elif letter == '}':
            depth -= 1
            if depth == 0:
                start = position + 1
        elif letter == ';' and depth == 0:
            part = text[start:position]
            yield start + len(part) - len(part.lstrip()), part.strip()
            start = position + 1


def public_contract(tree):
    """Each function of usvm.h says its Context:, and its Return: unless void."""
    file = tree.files.get('include/usvm/usvm.h')
    if not file:
        return
    def blank(found):
        return re.sub(r'[^\n]', ' ', found.group(0))
    code = DIRECTIVE.sub(blank, CPLUSPLUS.sub(blank, file.code))
    comments = {found.end(): found.group(0) for found in COMMENT.finditer(file.text)}
    for position, declaration in declarations(code):
        names = [name for name in FUNCTION.findall(declaration) if name not in MARKS]
        if not names or declaration.startswith(('typedef', 'struct {', 'static inline')):
            continue
        before = len(file.text[:position].rstrip())
        comment = comments.get(before, '')
        is_void = re.match(r'(?:(?:USVM_API|extern)\s+)*void\s+\w', declaration)
        for word in ['Context'] + ([] if is_void else ['Return']):
            if not re.search(rf'\b{word}(, Return)?:', comment):
                yield (file.path, file.line_of(position),
                       f'{names[0]}(): its comment has no {word}:')


# --- manual pages ----------------------------------------------------------------

STRING = re.compile(r'"((?:\\.|[^"\\\n])*)"')
OPTION = re.compile(r'--[a-z][a-z-]*')


def options_of_help(tree, program):
    """Of the strings from "Usage: usvm PROGRAM" to the end of the array or function."""
    options = set()
    for file in tree.c_files():
        for found in re.finditer(rf'"Usage: usvm {program}\b.*?(?:\n}}|";\n|\Z)', file.text, re.S):
            for text in STRING.findall(found.group(0)):
                options.update(OPTION.findall(text))
    return options


def man_options(tree):
    """A program's --help and its manual page have the same options."""
    for page in tree.files.values():
        found = re.fullmatch(r'docs/man/usvm(?:-(\w+))?\.1', page.path)
        if not found:
            continue
        in_help = options_of_help(tree, found.group(1) or 'COMMAND')
        # An option of another program stands behind the program's name.
        in_page = {option for line in page.lines if re.match(r'\.[BI](?!.*usvm \w+ )', line)
                   for option in OPTION.findall(line.replace('\\-', '-'))}
        for option in sorted(in_help - in_page):
            yield page.path, 1, f'it has no {option}, which --help has'
        for option in sorted(in_page - in_help):
            yield page.path, 1, f'{option} is not in --help'


RULES = [
    banned_call, uffd_name, unfinished_word, trailing_blank, indentation, line_length,
    function_length, file_length, missing_spdx, header_guard, unknown_errno,
    unknown_guarantee, unlisted_source, public_contract, man_options,
]


def main():
    parser = argparse.ArgumentParser(description='check the house style')
    parser.add_argument('--root', default=os.path.join(os.path.dirname(__file__), '..'))
    options = parser.parse_args()

    tree = Tree(os.path.abspath(options.root))
    count = 0
    for rule in RULES:
        for path, line, what in rule(tree):
            print(f'{path}:{line}: {rule.__name__}: {what}')
            count += 1
    sys.exit(1 if count else 0)


if __name__ == '__main__':
    main()
