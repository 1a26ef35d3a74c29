#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run each benchmark in full, one after the other.

    run-bench.py PROGRAM [ARGUMENT...] -- PROGRAM [ARGUMENT...] -- ...

Each prints its own table, with machine, commit and unit. A benchmark that
says 77 could not run here and says why. With USVM_BENCH_JSON=FOLDER each
writes FOLDER/NAME.json as well, and it is told which targets were met. With
USVM_BENCH_RUNS=N all is done N times, into FOLDER/run-1 and so on.
"""

import itertools
import os
import subprocess
import sys

EXIT_SKIPPED = 77


def run(folder):
    """All of them once. Return: what failed."""
    failed = []
    if folder:
        os.makedirs(folder, exist_ok=True)
    for is_end, command in itertools.groupby(sys.argv[1:], lambda word: word == '--'):
        if is_end:
            continue
        command = list(command)
        if folder:
            name = os.path.basename(command[-1]).removeprefix('bench-')
            command += ['--json', os.path.join(folder, name + '.json')]
        status = subprocess.run(command, check=False).returncode
        if status not in (0, EXIT_SKIPPED):
            failed.append(f'{" ".join(command)} (exit {status})')
    return failed


def main():
    folder = os.environ.get('USVM_BENCH_JSON')
    runs = int(os.environ.get('USVM_BENCH_RUNS') or 1)
    folders = [os.path.join(folder, f'run-{i + 1}') if runs > 1 else folder
               for i in range(runs)] if folder else [None] * runs
    failed = sum((run(each) for each in folders), [])
    if folder:
        table = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'bench-table.py')
        subprocess.run([table, '--verdict'] + folders, check=False)
    for line in failed:
        print(f'failed: {line}', file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
