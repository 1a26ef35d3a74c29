#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Is what README.md shows still true?

    readme_test.py --root DIR --build DIR

  - its first C program is examples/hello.c, from the first #include on;
  - a console block below "<!-- test: COMMAND -->" shows what COMMAND prints: run with
    the build folder in place of build/, compared line by line. Of numbers it counts
    only whether they are 0, for the rest is of a machine and a moment; so are paths,
    and what `usvm doctor` tells of the machine;
  - a `make TARGET` in a console block names a target of the Makefile.

Where pages cannot migrate the commands print other things: exit 77.
"""

import argparse
import os
import re
import subprocess
import sys

EXIT_SKIPPED = 77
SECONDS_MAX = 20

C_BLOCK = re.compile(r'^```c\n(.*?)^```$', re.M | re.S)
CONSOLE = re.compile(r'(?:^<!-- test: (.+?) -->\n)?^```console\n(.*?)^```$', re.M | re.S)
MAKE = re.compile(r'\bmake ([a-z-]+)')
TARGET = re.compile(r'^([a-z-]+):', re.M)
# What a machine is like, in lines of `usvm doctor`.
MACHINE = re.compile(r'^(\w+ +(?:kernel|userfaultfd|kernel-faults|huge-pages|max-map-count|'
                     r'address-space|descriptors)) .*')


def mask_number(found):
    return 'N' if re.search('[1-9]', found.group(0)) else '0'


def masked(line):
    line = MACHINE.sub(r'\1', line)
    line = re.sub(r'of /\S+,', 'of FILE,', line)
    line = re.sub(r'\b\d+(?:\.\d+)*', mask_number, line)
    return ' '.join(line.split())


def program_of(source):
    return source[source.index('#include'):]


def check_program(readme, root):
    with open(os.path.join(root, 'examples/hello.c'), encoding='utf-8') as file:
        wanted = program_of(file.read())
    found = C_BLOCK.search(readme)
    if not found or found.group(1) != wanted:
        yield 'the program is not examples/hello.c'


def check_targets(readme, root):
    with open(os.path.join(root, 'Makefile'), encoding='utf-8') as file:
        targets = set(TARGET.findall(file.read()))
    for _, block in CONSOLE.findall(readme):
        for name in MAKE.findall(block):
            if name not in targets:
                yield f'the Makefile has no target {name}'


def check_output(command, block, options):
    shown = [line for line in block.splitlines() if not line.startswith('$ ')]
    words = command.split()
    words[0] = os.path.join(options.build, os.path.relpath(words[0], 'build'))
    run = subprocess.run(words, cwd=options.root, check=False, timeout=SECONDS_MAX,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if command.endswith('doctor') and run.returncode != 0:
        return  # something is missing on this machine, and it says what
    printed = run.stdout.splitlines()
    for number in range(max(len(shown), len(printed))):
        want = shown[number] if number < len(shown) else '(nothing)'
        have = printed[number] if number < len(printed) else '(nothing)'
        if masked(want) != masked(have):
            yield f'{command}: README has "{want}", it prints "{have}"'


def main():
    parser = argparse.ArgumentParser(description='check README.md')
    parser.add_argument('--root', required=True)
    parser.add_argument('--build', required=True)
    options = parser.parse_args()
    with open(os.path.join(options.root, 'README.md'), encoding='utf-8') as file:
        readme = file.read()

    wrong = list(check_program(readme, options.root)) + list(check_targets(readme, options.root))
    hello = os.path.join(options.build, 'examples/hello')
    migrates = subprocess.run([hello], check=False, timeout=SECONDS_MAX,
                              stdout=subprocess.DEVNULL).returncode != EXIT_SKIPPED
    tested = [(command, block) for command, block in CONSOLE.findall(readme) if command]
    if not tested:
        wrong.append('no console block is tested')
    for command, block in tested if migrates else []:
        wrong += check_output(command, block, options)
    for line in wrong:
        print(f'README.md: {line}')
    if not wrong and not migrates:
        print('SKIP: pages cannot migrate here')
    sys.exit(1 if wrong else 0 if migrates else EXIT_SKIPPED)


if __name__ == '__main__':
    main()
