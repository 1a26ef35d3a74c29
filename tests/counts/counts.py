#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Count the instructions of the library on its most used paths, and compare.

    counts.py --program PATHS --compiler 'gcc 12.2.0' [--write]

Runs tests/counts/paths.c under callgrind. Counted is what the library's own
layers execute (src/ without sys): neither the simulated kernel nor the test.
The figures are exact for one compiler and its options; counts.json has those
of one, and with another this is skipped. More than LIMIT above the recorded
figure fails; so does a figure that is not recorded. --write records.
"""

import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

LIMIT = 1.05
PATHS = ('gpu_fault', 'gpu_fault_block', 'cpu_fault', 'invalidation', 'munmap')
EXIT_SKIPPED = 77
RECORDED = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'counts.json')
LAYERS = re.compile(r'(?:^|/)src/(?:base|mm|pagemap|gpusvm|vram|vm)/[^/]+\.c$')
PATH = re.compile(r'^desc: Trigger: --dump-after=count_(\w+)', re.M)
NAMED = re.compile(r'\((\d+)\)(?: (.*))?')
COST = re.compile(r'[+\-*\d]\S* (\d+)')


def skip(reason):
    print(f'SKIP: {reason}')
    sys.exit(EXIT_SKIPPED)


def library_cost(text):
    """Instructions of functions whose file is the library's own."""
    files, total, is_own, is_call = {}, 0, False, False
    for line in text.splitlines():
        key, equals, value = line.partition('=')
        if equals and key in ('fl', 'fi', 'fe', 'cfi', 'cfl'):
            number, name = NAMED.match(value).groups()
            if name:
                files[number] = name
            if key == 'fl':
                is_own = bool(LAYERS.search(files[number]))
        elif equals and key == 'calls':
            is_call = True  # the next line is what the callee took
        elif found := COST.match(line):
            if is_own and not is_call:
                total += int(found.group(1))
            is_call = False
    return total


def count(program):
    """Path -> instructions."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ['valgrind', '--tool=callgrind', '--toggle-collect=count_*',
             f'--callgrind-out-file={folder}/out',
             *(f'--dump-after=count_{path}' for path in PATHS), program],
            check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f'{done.stdout}{done.stderr}\n{program}: exit {done.returncode}')
        figures = {}
        for path in glob.glob(f'{folder}/out*'):
            with open(path, encoding='utf-8') as file:
                text = file.read()
            if found := PATH.search(text):
                figures[found.group(1)] = library_cost(text)
        return dict(sorted(figures.items()))


def compare(figures, recorded):
    """Print the table. Returns the number of figures that are too high or not recorded."""
    bad = 0
    print(f'{"instructions":24}{"recorded":>12}{"now":>12}')
    for path in sorted(set(figures) | set(recorded)):
        now, was = figures.get(path), recorded.get(path)
        if now is None or was is None:
            bad += 1
            print(f'{path:24} {"is not counted" if now is None else "is not recorded"}')
            continue
        is_high = now > LIMIT * was
        bad += is_high
        print(f'{path:24}{was:12}{now:12}{100 * now / was - 100:+8.1f} %'
              f'{"  TOO MANY" if is_high else ""}')
    return bad


def main():
    parser = argparse.ArgumentParser(description='count instructions, and compare')
    parser.add_argument('--program', required=True)
    parser.add_argument('--compiler', required=True)
    parser.add_argument('--write', action='store_true')
    options = parser.parse_args()

    if not shutil.which('valgrind'):
        skip('no valgrind here')
    if options.write:
        record = {'compiler': options.compiler, 'instructions': count(options.program)}
        with open(RECORDED, 'w', encoding='utf-8') as file:
            json.dump(record, file, indent=2)
            file.write('\n')
        print(json.dumps(record, indent=2))
        return
    with open(RECORDED, encoding='utf-8') as file:
        record = json.load(file)
    if record['compiler'] != options.compiler:
        skip(f'recorded with {record["compiler"]}, this is {options.compiler}')
    bad = compare(count(options.program), record['instructions'])
    if bad:
        print('Where more is right: tests/counts/counts.py --write, and say why in the commit.')
    sys.exit(1 if bad else 0)


if __name__ == '__main__':
    main()
