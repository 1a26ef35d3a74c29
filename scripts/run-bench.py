#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run each benchmark in full, one after the other.

    run-bench.py PROGRAM [ARGUMENT...] -- PROGRAM [ARGUMENT...] -- ...

Each prints its own table, with machine, commit and unit. A benchmark that
says 77 could not run here and says why. With USVM_BENCH_JSON=FOLDER each
writes FOLDER/NAME.json as well.
"""

import itertools
import os
import subprocess
import sys

EXIT_SKIPPED = 77


def main():
    failed = []
    folder = os.environ.get('USVM_BENCH_JSON')
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
    for line in failed:
        print(f'failed: {line}', file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
