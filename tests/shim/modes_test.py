#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What `usvm run` says of a program with --stats, --require-migration, --placement, --poison.

    modes_test.py USVM CLIENT HELLO

CLIENT is modes_client, HELLO the example xe_hello. Status 77 where nothing migrates here.
"""

import os
import re
import subprocess
import sys

USVM, CLIENT, HELLO = sys.argv[1:4]
failures = []


def run(options, *words, program=CLIENT, **environment):
    done = subprocess.run([USVM, 'run', *options, '--', program, *words], text=True,
                          capture_output=True, env={**os.environ, **environment}, check=False)
    return done.returncode, done.stdout, done.stderr


def check(claim, holds, *seen):
    print(('ok   ' if holds else 'FAIL ') + claim)
    if not holds:
        failures.append(claim)
        print(*seen, sep='\n')


def counts(text):
    """Of each process in the output of --stats: jobs, pages to the device, pages home."""
    return sorted(tuple(map(int, found)) for found in re.findall(
        r'process \d+: (\d+) jobs, (\d+) pages to the device, (\d+) home', text))


def test_listing():
    status, out, err = run([], '-l', '/dev/dri', program='ls')
    check('ls -l /dev/dri: the card, and no complaint',
          status == 0 and 'card0' in out and err == '', status, err)


def test_stats():
    status, out, err = run(['--stats'], program=HELLO)
    seen = counts(err)
    check('--stats: the example ran one job, and its pages went and came',
          status == 0 and out == '42\n' and len(seen) == 1 and seen[0][0] == 1
          and seen[0][1] > 0 and seen[0][2] > 0, status, err)
    check('--stats: counters by name', 'svm_pagefault_count' in err
          and 'mm_home_moved_pages' in err, err)
    _, _, err = run(['--stats'], 'shared', 'child-anonymous', 'child-idle')
    seen = counts(err)
    check('--stats: a process each', [s[0] for s in seen] == [0, 1, 1], err)
    check('--stats: what one moved is not told of another',
          sorted(s[1] > 0 for s in seen) == [False, False, True], err)
    status, _, err = run([], program=HELLO)
    check('nothing is told without', status == 0 and err == '', err)


def test_migration():
    for words, expected, why in (
            (['anonymous'], 0, ''),
            (['anonymous', 'shared'], 0, ''),
            (['shared'], 1, 'no page went to the device'),
            (['shared'], 1, 'no page came home'),
            (['advised'], 1, 'no page went to the device'),
            (['idle'], 1, 'no process ran a job'),
            (['anonymous', 'child-idle'], 0, ''),
            (['anonymous', 'child-shared'], 1, 'no page went to the device'),
            (['child-anonymous'], 0, ''),
            (['anonymous', 'child-killed'], 0, 'left no report')):
        status, _, err = run(['--require-migration'], *words)
        check(f'--require-migration: {" ".join(words)}: {expected} {why}',
              status == expected and why in err, status, err)
    for what, expected in (('device', 1), ('home', 1), ('none', 0)):
        status, _, err = run(['--require-migration=' + what], 'shared')
        check(f'--require-migration={what}: shared memory: {expected}', status == expected, err)
    status, _, err = run(['--require-migration'], program=HELLO)
    check('--require-migration: the example', status == 0, err)
    status, _, err = run(['--require-migration'], program=HELLO, USVM_FEATURES='-move')
    check('--require-migration: fails where pages cannot move', status == 1
          and 'no page went to the device' in err, status, err)
    status, _, err = run(['--require-migration', '--migrate=always'], 'anonymous',
                         USVM_FEATURES='-kernel_faults')
    check('--migrate=always: also where system calls could not touch the pages', status == 0, err)
    status, _, err = run(['--require-migration'], 'anonymous', USVM_FEATURES='-kernel_faults')
    check('--migrate=auto: there nothing migrates', status == 1, err)
    status, _, err = run(['--stats', '--migrate=never'], 'anonymous')
    check('--migrate=never: all stays at home', status == 0 and counts(err)[0][1:] == (0, 0), err)
    status, _, err = run(['--migrate=sometimes'], 'anonymous')
    check('--migrate=sometimes: there is no such', status == 2, status, err)
    status, _, err = run(['--require-migration'], '-c', 'rm -r $USVM_XE_ROOT/report', program='sh')
    check('--require-migration: fails where the reports are gone', status == 1
          and 'report: No such file' in err, status, err)
    status, _, _ = run(['--require-migration=none'], program='false')
    check("the program's status comes first", status == 1)


def test_placement():
    status, out, err = run(['--placement=device', '--require-migration'], program=HELLO)
    check('--placement=device: the example', status == 0 and out == '42\n', err)
    status, _, err = run(['--placement=device', '--require-migration'], 'advised')
    check('--placement=device: also what is advised to stay', status == 0, status, err)
    for word, why in (('shared', 'shared memory'), ('file', "a file's"), ('locked', 'locked, ')):
        status, out, err = run(['--placement=device', '--stats'], word)
        if status == 77:
            print(out.strip())
            continue
        stayed = re.search(r'0x\w+-0x\w+ stayed at home for (\d+) faults: ' + why, err)
        check(f'--placement=device: {word} is listed', status == 0 and stayed is not None
              and int(stayed.group(1)) > 0 and 'usvm_stayed_' in err, status, err)
    _, _, err = run(['--placement=device', '--migrate=never'], 'anonymous')
    check('--placement=device: nor can migrate, and that is the reason',
          'faults: nothing migrates' in err and 'pinned' not in err, err)
    _, _, err = run(['--placement=device'], 'anonymous')
    check('--placement=device: of anonymous memory nothing is listed',
          len(re.findall('stayed', err)) == len(re.findall('shared memory', err)), err)
    _, _, err = run(['--placement=auto'], 'shared')
    check('--placement=auto: nothing is listed', err == '', err)


def test_ends():
    _, _, err = run(['--stats'], *['child-all-end'] * 50)
    check('threads that end it at once: each process left its report',
          len(counts(err)) == 51, len(counts(err)), err[-300:])
    status, _, err = run(['--stats'], *['child-call-ends'] * 50)
    check('a handler that ends it in a call: each process left its report', status == 0
          and len(counts(err)) == 51, status, len(counts(err)), err[-300:])
    status, _, err = run(['--stats'], 'library-ends')
    check('a thread of the library that ends it leaves no report, and does not hang',
          status == 0 and 'left no report' in err, status, err)


def test_nesting():
    options = ['--vram=64M', '--placement=device', '--migrate=never', '--poison', '--profile=cri']
    status, out, err = run(options, 'run', '--', 'env', program=USVM)
    told = {line for line in out.splitlines() if line.startswith('USVM_XE_')
            and not line.startswith(('USVM_XE_ROOT=', 'USVM_XE_LIBRARY='))}
    check('a run in a run takes over nothing', status == 0
          and told == {'USVM_XE_PROFILE=bmg'}, status, out, err)


def test_poison():
    status, out, err = run(['--poison', '--require-migration'], program=HELLO)
    check('--poison: the example', status == 0 and out == '42\n', err)
    status, _, err = run(['--poison', '--placement=device', '--require-migration'],
                         'anonymous', 'anonymous', 'advised', 'child-anonymous')
    check('--poison: memory goes and comes as it was', status == 0, err)


def main():
    status, _, err = run(['--stats'], program=HELLO)
    seen = counts(err)
    if status == 0 and seen and not seen[0][1]:
        print('SKIP: nothing migrates here')
        return 77
    test_listing()
    test_stats()
    test_migration()
    test_placement()
    test_poison()
    test_ends()
    test_nesting()
    print(f'{len(failures)} failed')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
