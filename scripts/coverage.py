#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measure which lines and branches of src/ the tests run.

    coverage.py                 build, run, print the table; `make coverage`
    coverage.py --seeds N       of the simulator, 400
    coverage.py --report        only the table, of what was run before
    coverage.py --missed FILE   also the lines of FILE that lack something

Most of src/ is measured by the unit tests and the simulator (random seeds of
each profile, and --faults). What stands before the real kernel and the real C
library is measured by the live tests: sys/linux*, also with features of the
kernel taken away, and shim, which programs under `usvm run` have preloaded.
Fails when a floor is not reached: FLOORS and LIVE_FLOORS for the two, FILE_FLOOR
for the lines of each file.

gcovr reads each set of objects by itself: a source file is compiled up to three
times with other options, and what is covered in one of them is covered. The
two ways of an ASSERT() or SIM_MUST() are not counted: only a bug takes one.
"""

import argparse
import collections
import glob
import json
import os
import subprocess
import sys

import check

BUILD = 'build-cover'
FLOORS = {'lines': 90, 'branches': 80}
LIVE_FLOORS = {'lines': 90, 'branches': 75}  # see docs/testing.md
FILE_FLOOR = 75

# What the live tests measure: the name in the table, the layer, its files.
LIVE = {'sys/linux*': ('sys', 'src/sys/linux'), 'shim': ('shim', 'src/shim/')}
# Has nothing but in a run with a planted bug.
NOT_MEASURED = 'src/base/plant.c'

# What sys does where the kernel, or the right to use it, lacks something.
MASKS = ('-procmap_query,-pagemap_scan,-guard,-membarrier,-thread_id',
         '-kernel_faults,-event_fork', '-uffd')

# -O0: an inlined function's lines would be counted where it is inlined.
FLAGS = '-O0 -fprofile-update=atomic'
NOT_COUNTED = r'.*\b(ASSERT|SIM_MUST|INVARIANT|PLANTED|PLANTED_GAP)\('

Line = collections.namedtuple('Line', 'count branches')


def run(command, must=True, **more):
    print('+', ' '.join(command), flush=True)
    if subprocess.run(command, check=must, **more).returncode:
        print('coverage: a test failed; `make check` tells whether that is the build or load')


def build():
    if not os.path.exists(os.path.join(BUILD, 'build.ninja')):
        run(['meson', 'setup', BUILD, '-Dbuildtype=plain', '-Db_coverage=true',
             '-Dtests=enabled', '-Dlock_check=false'],
            env={**os.environ, 'CC': 'gcc', 'CFLAGS': FLAGS}, stdout=subprocess.DEVNULL)
    run(['ninja', '-C', BUILD, '--quiet'])


def forget():
    for path in glob.glob(f'{BUILD}/**/*.gcda', recursive=True):
        os.remove(path)


def forget_tables():
    for path in glob.glob(f'{BUILD}/coverage-*.json'):
        os.remove(path)


def gcovr(name, folders, *filters):
    path = f'{BUILD}/coverage-{name}.json'
    run(['gcovr', '--root', '.', *sorted(folders), *filters, '--json', path,
         '--exclude-unreachable-branches', '--exclude-branches-by-pattern', NOT_COUNTED])


def suite(name, mask=''):
    names = []
    if mask:
        print(f'+ USVM_FEATURES={mask}')
        names = check.Check.masked_tests(check.Step('', 'test', BUILD, name, 0))
    run(['meson', 'test', '-C', BUILD, '--no-rebuild', '--quiet', '--suite', name] + names,
        must=False, env={**os.environ, 'USVM_FEATURES': mask})


def measure(seeds):
    sets = {
        'layers': [path for path in glob.glob(f'{BUILD}/libusvm-*.a.p')
                   if 'libusvm-sim' not in path],
        'sim': glob.glob(f'{BUILD}/libusvm-sim-*.a.p'),
        'simulator': [f'{BUILD}/libusvm-simulator.a.p'],
    }
    forget()
    forget_tables()
    suite('unit')
    simulator = f'{BUILD}/tests/sim/usvm-sim'
    run([simulator, '--profile', 'all', '--seeds', f'1..{seeds}'], must=False)
    run([simulator, '--faults'], must=False)
    others = [text for path in (NOT_MEASURED, *(path for _, path in LIVE.values()))
              for text in ('--exclude', path)]
    for name, folders in sets.items():
        gcovr(name, folders, '--filter', 'src/', *others)
    forget()
    for mask in ('', *MASKS):
        suite('live', mask)
    suite('examples')
    for layer, path in LIVE.values():
        gcovr(f'live-{layer}', [f'{BUILD}/libusvm-{layer}.a.p'], '--filter', path)


def load():
    """file -> number of a line -> Line, over all sets."""
    files = collections.defaultdict(dict)
    for path in glob.glob(f'{BUILD}/coverage-*.json'):
        with open(path, encoding='utf-8') as file:
            report = json.load(file)
        for entry in report['files']:
            lines = files[entry['file']]
            for line in entry['lines']:
                if line.get('gcovr/noncode'):
                    continue
                branches = [branch['count'] for branch in line['branches']]
                old = lines.get(line['line_number'], Line(0, []))
                count = max(len(branches), len(old.branches))
                padded = [have + [0] * (count - len(have))
                          for have in (branches, old.branches)]
                lines[line['line_number']] = Line(
                    line['count'] + old.count, [a + b for a, b in zip(*padded)])
    return files


class Sum:
    def __init__(self):
        self.lines = self.lines_run = self.branches = self.branches_run = 0

    def add(self, lines):
        for line in lines.values():
            self.lines += 1
            self.lines_run += line.count > 0
            self.branches += len(line.branches)
            self.branches_run += sum(count > 0 for count in line.branches)

    def percent(self, what):
        whole = getattr(self, what)
        return 100 * getattr(self, what + '_run') / whole if whole else 100.0

    def text(self):
        return (f'{self.lines_run:6} of {self.lines:5} {self.percent("lines"):6.1f} %'
                f'{self.branches_run:7} of {self.branches:5} {self.percent("branches"):6.1f} %')


def report():
    """Print the table. Returns what is below a floor."""
    folders = collections.defaultdict(Sum)
    parts = {name: Sum() for name in ('all others', *LIVE)}
    low = []
    print(f'{"":28}{"lines":>22}{"branches":>24}')
    for path, lines in sorted(load().items()):
        one = Sum()
        part = ([name for name, (_, start) in LIVE.items() if path.startswith(start)]
                or ['all others'])[0]
        folder = LIVE[part][1] if part in LIVE else f'{os.path.dirname(path)}/'
        for total in (one, parts[part], folders[folder]):
            total.add(lines)
        print(f'{path:28}{one.text()}')
        if one.percent('lines') < FILE_FLOOR:
            low.append(f'{path}: lines below {FILE_FLOOR} %')
    print()
    for name, total in {**folders, **parts}.items():
        print(f'{name:28}{total.text()}')
    for name, total in parts.items():
        floors = LIVE_FLOORS if name in LIVE else FLOORS
        low += [f'{name}: {what} below {floor} %' for what, floor in floors.items()
                if total.percent(what) < floor]
    return low


def show_missed(path):
    with open(path, encoding='utf-8') as file:
        text = file.read().split('\n')
    for number, line in sorted(load()[path].items()):
        ways = ''.join('+' if count else '-' for count in line.branches)
        if not line.count:
            print(f'{path}:{number}: not run: {text[number - 1]}')
        elif '-' in ways:
            print(f'{path}:{number}: {ways}: {text[number - 1]}')


def main():
    parser = argparse.ArgumentParser(description='what the tests run of src/')
    parser.add_argument('--seeds', type=int, default=400)
    parser.add_argument('--report', action='store_true')
    parser.add_argument('--missed', action='append', default=[], metavar='FILE')
    options = parser.parse_args()
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
    if not options.report:
        build()
        measure(options.seeds)
    low = report()
    for path in options.missed:
        show_missed(path)
    for text in low:
        print(f'coverage: {text}')
    sys.exit(1 if low else 0)


if __name__ == '__main__':
    main()
