#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The oracle is checked: plant a bug, and see whether `usvm oracle` finds it.

    oracle-plants.py [NAME...]    each of these plants, ten seeds: the table of docs/testing.md

Found: the run fails within 60 s of the clock, and without the plant the same seed does
not. A plant must be found from 9 of 10 seeds. Seeds are 1, 2, ...
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..')
SEEDS = 10
SECONDS = 60
FOUND_MIN = 9


def oracle(usvm, plant, seed, seconds):
    start = time.monotonic()
    done = subprocess.run(
        [usvm, 'oracle', '--seed', str(seed), '--seconds', str(seconds), '--shrink', '0',
         '--still', '10'] + (['--plant', plant] if plant else []),
        check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        errors='replace')
    how = re.search(r'^(?:MISMATCH|WRONG RESULT|CRASH|HANG): .*', done.stdout, re.M)
    return done.returncode == 1, time.monotonic() - start, how[0] if how else '-'


def try_plant(options, plant, text):
    runs = []
    for seed in range(1, options.seeds + 1):
        found, seconds, how = oracle(options.usvm, plant, seed, options.seconds)
        if found and oracle(options.usvm, '', seed, max(2, int(seconds)))[0]:
            print(f'seed {seed} fails without {plant}, too', file=sys.stderr)
            found = False
        runs.append((found, seconds, how))
    found = [run for run in runs if run[0]]
    median = longest = how = '-'
    if found:
        median = f'{statistics.median(run[1] for run in found):.1f}'
        longest = f'{max(run[1] for run in found):.1f}'
        hows = [run[2] for run in found]
        how = max(hows, key=hows.count)
    print(f'| `{plant}`: {text} | {len(found)} of {len(runs)} | {median} | {longest} | {how} |',
          flush=True)
    return len(found) * SEEDS >= FOUND_MIN * len(runs)


def main():
    parser = argparse.ArgumentParser(description='plant bugs, and see what the oracle finds')
    parser.add_argument('--usvm', default=os.path.join(ROOT, 'build/tests/oracle/usvm-planted'))
    parser.add_argument('--seeds', type=int, default=SEEDS)
    parser.add_argument('--seconds', type=int, default=SECONDS)
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()
    listed = subprocess.run([options.usvm, 'oracle', '--plants'], check=True,
                            capture_output=True, text=True).stdout
    plants = [line.split('\t') for line in listed.splitlines()]
    texts = {plant[0]: plant[2] for plant in plants}
    marked = [plant[0] for plant in plants if len(plant) > 3]
    print('| plant | found | median, s | longest, s | how it shows, most often |')
    print('|---|---|---|---|---|')
    missed = [name for name in options.names or marked
              if not try_plant(options, name, texts[name])]
    if missed:
        print(f'missed: {", ".join(missed)}')
    sys.exit(1 if missed else 0)


if __name__ == '__main__':
    main()
