#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The oracle is checked: does it see bugs that are planted, and tell what led to them?

    oracle_test.py USVM USVM_PLANTED

A wrong value, a crash and a hang are told as such; the script of a wrong value fails again
with the bug and not without it; a run without a bug is right and says so.
"""

import os
import re
import subprocess
import sys
import tempfile

USVM, PLANTED = sys.argv[1:]
failures = []


def run(program, *arguments):
    return subprocess.run([program, 'oracle', *arguments], capture_output=True, text=True,
                          check=False)


def check(claim, holds, done=None):
    print(('ok   ' if holds else 'FAIL ') + claim)
    if not holds:
        failures.append(claim)
        if done:
            print(f'status {done.returncode}\n{done.stdout}\n{done.stderr}')


def test_wrong_value(folder):
    script = os.path.join(folder, 'small.script')
    done = run(PLANTED, '--plant', 'REMOVE_KEEPS', '--seconds', '20', '--seed', '1',
               '--mode', 'move', '--threads', '1', '--no-shake', '--shrink', '4',
               '--save', script)
    found = re.search(r'^MISMATCH: .*\n  seen by .*\n  expected: .*\n  found: ', done.stdout, re.M)
    check('a wrong value: told, status 1', done.returncode == 1 and found, done)
    check('a wrong value: where the page is, and the last acts on it',
          'usvm_query: ' in done.stdout and 'last acts on it' in done.stdout, done)
    check('a wrong value: the same work is a command',
          f'{PLANTED} oracle --seed 1 --round 0 --rounds 1 ' in done.stdout, done)
    again = re.search(r'made smaller in \d+ runs: (\d+) steps, failed ([1-3]) of 3', done.stdout)
    check('a wrong value: had again, and smaller', again and int(again[1]) < 100, done)
    if not again:
        return
    way = ['--one-thread'] if ' --one-thread' in done.stdout else []
    done = run(PLANTED, '--plant', 'REMOVE_KEEPS', '--script', script, '--times', '3', *way)
    check('its script fails with the bug', done.returncode == 1, done)
    done = run(USVM, '--script', script, '--times', '2', *way)
    check('its script is right without the bug',
          done.returncode == 0 and 'failed 0 of 2 times' in done.stdout, done)


def test_others():
    for plant, word, text in (('LAST_TWICE', 'CRASH', 'the process has died'),
                              ('MONITOR_TOUCHES', 'HANG', 'nothing has moved for 2 s')):
        done = run(PLANTED, '--plant', plant, '--seconds', '20', '--seed', '1', '--mode',
                   'move', '--shrink', '0', '--still', '2')
        check(f'{plant}: {word}, what each thread does, status 1',
              done.returncode == 1 and f'{word}: ' in done.stdout and text in done.stdout
              and '  thread 0: ' in done.stdout and 'of the rounds before:\n' in done.stdout,
              done)


def test_right():
    done = run(USVM, '--rounds', '1', '--steps', '40', '--seed', '3')
    if done.returncode == 77:
        print(done.stdout)
        sys.exit(77)
    check('a round that is right: status 0, and what it did',
          done.returncode == 0 and 'mismatches                0' in done.stdout
          and re.search(r'^  operations +\d', done.stdout, re.M), done)
    once, again = (run(USVM, '--rounds', '1', '--threads', '1', '--steps', '60', '--no-shake',
                       '--seed', '5').stdout.partition('mismatches')[2] for _ in range(2))
    check('the same seed is the same work', once and once == again)
    listed = run(PLANTED, '--plants')
    check('--plants lists them', listed.returncode == 0 and 'REMOVE_KEEPS\t' in listed.stdout)
    check('--plants marks those that are looked for', 0 < listed.stdout.count(
        '\tmake oracle-plants\n') < len(listed.stdout.splitlines()))
    check('--plant finds its way from the plain command',
          run(USVM, '--plants').stdout == listed.stdout)
    check('a plant that there is none of: status 2',
          run(PLANTED, '--plant', 'DANCE').returncode == 2)


def test_bad_scripts(folder):
    head = 'seed 1\nthreads 1\nshakes 0\ndevice model:vram=8M\n'
    path = os.path.join(folder, 'bad.script')
    for text, line in (('dance\n', 1), (head + '0 dance 0 0+1 1\n', 5),
                       (head + '1 touch 0 0+1 1\n', 5), (head + '0 touch 99 0+1 1\n', 5),
                       (head + '0 fork 7 0+1 1\n', 5), (head + '0 touch 0 0+0 1\n', 5),
                       ('seed 1\n', 1)):
        with open(path, 'w', encoding='ascii') as file:
            file.write(text)
        done = run(USVM, '--script', path)
        check(f'a bad script: {text.splitlines()[-1]}',
              done.returncode == 2 and f'line {line} ' in done.stderr, done)
    check('no script: status 1', run(USVM, '--script', path + '.none').returncode == 1)


def main():
    test_right()
    with tempfile.TemporaryDirectory() as folder:
        test_bad_scripts(folder)
        test_wrong_value(folder)
    test_others()
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    main()
