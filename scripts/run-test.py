#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run one test under a watchdog, and record what became of it.

    run-test.py --name SUITE/NAME --limit SECONDS -- PROGRAM [ARGUMENT...]

A program that is not done after --limit seconds is shown (state and stack of
every thread, by gdb, which itself may hang on a userfault and has a limit of
its own), killed with all its descendants, and has failed. So has one that
leaves processes behind, and one that skips without a line "SKIP: reason".

With --until-failure it is killed as soon as it says that a test failed: for a
build with a planted bug, in which that is all that is asked.

Exit: the program's (77 means skipped), or 1.

With USVM_TEST_RESULTS=FILE one line of JSON is appended to FILE:
  name, result (passed, failed, skipped, timeout), seconds, and the counts
  passed, failed, skipped: of cmocka's tests where the program prints them,
  else the program counts as one; reasons: the texts of its "SKIP: " lines.
"""

import argparse
import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

EXIT_SKIPPED = 77
GDB_SECONDS = 20
SHOWN_PROCESSES = 4  # meson waits 90 s longer than --limit
PR_SET_CHILD_SUBREAPER = 36

CMOCKA_COUNT = re.compile(r'^\[  (PASSED|FAILED|SKIPPED) +\] (\d+) test\(s\)', re.M)
CMOCKA_OK = re.compile(r'^\[       OK \] ', re.M)
CMOCKA_RUNS = re.compile(r'^\[==========\] .*Running \d+ test\(s\)', re.M)
FAILURE = re.compile(rb'^(\[  FAILED  \]|FAILED) ', re.M)
SKIP_REASON = re.compile(r'^SKIP: *(.+)$', re.M)


def read_text(path):
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            return file.read()
    except OSError:
        return ''


def children_of(parents):
    """All descendants of the processes in `parents`, nearest first."""
    parent_of = {}
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            stat = read_text(f'/proc/{entry}/stat')
            fields = stat.rpartition(')')[2].split()
            if len(fields) > 1:
                parent_of[int(entry)] = int(fields[1])
    found, newest = [], set(parents)
    while newest:
        newest = {pid for pid, parent in parent_of.items() if parent in newest}
        newest -= set(found)
        found += sorted(newest)
    return found


def show_threads(pid):
    """What /proc tells of each thread: never blocks on the program's memory."""
    try:
        tids = sorted(os.listdir(f'/proc/{pid}/task'), key=int)
    except OSError:
        return
    for tid in tids:
        task = f'/proc/{pid}/task/{tid}'
        state = read_text(f'{task}/stat').rpartition(')')[2].split()[:1]
        print(f'  thread {tid} {read_text(task + "/comm").strip()!r}'
              f' state {"".join(state)}'
              f' in {read_text(task + "/wchan").strip() or "?"}'
              f' syscall {read_text(task + "/syscall").strip()}')


def show_stacks(pid):
    print(f'--- process {pid}: {read_text(f"/proc/{pid}/comm").strip()}')
    show_threads(pid)
    sys.stdout.flush()
    if not shutil.which('gdb'):
        print('  (no gdb here: no stacks)')
        return
    command = ['gdb', '-nx', '-p', str(pid), '-batch',
               '-ex', 'set pagination off', '-ex', 'thread apply all bt']
    # Its own group, so that what gdb starts can be killed with it.
    gdb = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, start_new_session=True)
    try:
        text = gdb.communicate(timeout=GDB_SECONDS)[0]
    except subprocess.TimeoutExpired:
        os.killpg(gdb.pid, signal.SIGKILL)
        try:
            text = gdb.communicate(timeout=1)[0]
        except subprocess.TimeoutExpired:
            text = b''
        text += b'\n(gdb hung and was killed)\n'
    print(text.decode(errors='replace'), flush=True)


def kill_all(program):
    """SIGKILL the program, its group and every descendant; reap what is ours."""
    for _ in range(3):
        for pid in [program.pid] + children_of([program.pid, os.getpid()]):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        try:
            os.killpg(program.pid, signal.SIGKILL)
        except OSError:
            pass
    try:
        program.wait(timeout=10)
    except subprocess.TimeoutExpired:
        print(f'process {program.pid} cannot be killed', flush=True)
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            break


class Output(threading.Thread):
    """Passes the program's output on as it comes, and keeps it."""

    def __init__(self, pipe, on_failure):
        super().__init__(daemon=True)
        self.pipe = pipe
        self.on_failure = on_failure  # called once, or None
        self.parts = []
        self.start()

    def run(self):
        while True:
            part = os.read(self.pipe.fileno(), 65536)
            if not part:
                return
            self.parts.append(part)
            sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()
            if self.on_failure and FAILURE.search(b''.join(self.parts)):
                self.on_failure()
                self.on_failure = None

    def text(self):
        return b''.join(self.parts).decode(errors='replace')


def count(text, result):
    """(passed, failed, skipped) tests of one program."""
    counts = {'PASSED': 0, 'FAILED': 0, 'SKIPPED': 0}
    if CMOCKA_RUNS.search(text):
        for kind, number in CMOCKA_COUNT.findall(text):
            counts[kind] += int(number)
        if result in ('failed', 'timeout'):
            if not CMOCKA_COUNT.search(text):  # it died before the summary
                counts['PASSED'] = len(CMOCKA_OK.findall(text))
            counts['FAILED'] = max(1, counts['FAILED'])
    if not any(counts.values()):
        kind = {'passed': 'PASSED', 'skipped': 'SKIPPED'}.get(result, 'FAILED')
        counts[kind] = 1
    return counts['PASSED'], counts['FAILED'], counts['SKIPPED']


def skip_reasons(text):
    return list(dict.fromkeys(SKIP_REASON.findall(text)))


def record(name, result, seconds, text):
    path = os.environ.get('USVM_TEST_RESULTS')
    if not path:
        return
    passed, failed, skipped = count(text, result)
    reasons = skip_reasons(text)
    line = json.dumps({
        'name': name, 'result': result, 'seconds': round(seconds, 2),
        'passed': passed, 'failed': failed, 'skipped': skipped,
        'reasons': reasons,
    })
    with open(path, 'a', encoding='utf-8') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(line + '\n')


def main():
    parser = argparse.ArgumentParser(description='run one test under a watchdog')
    parser.add_argument('--name', required=True)
    parser.add_argument('--limit', type=float, required=True, metavar='SECONDS')
    parser.add_argument('--grace', type=float, default=5, metavar='SECONDS',
                        help='for children to end after the program did')
    parser.add_argument('--until-failure', action='store_true')
    parser.add_argument('command', nargs='+')
    options = parser.parse_args()

    # Orphans come to us instead of init, so that they can be found and killed.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    start = time.monotonic()
    program = subprocess.Popen(options.command, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True)

    def interrupted(*_):
        kill_all(program)
        sys.exit(1)

    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGINT, interrupted)

    output = Output(program.stdout, program.kill if options.until_failure else None)
    try:
        status = program.wait(timeout=options.limit)
        result = {0: 'passed', EXIT_SKIPPED: 'skipped'}.get(status, 'failed')
        output.join(options.grace)
        if output.is_alive():
            print(f'{options.name}: left processes behind:'
                  f' {children_of([os.getpid()])}', flush=True)
            result = 'failed'
        elif status < 0:
            print(f'{options.name}: killed by {signal.Signals(-status).name}', flush=True)
    except subprocess.TimeoutExpired:
        print(f'\n{options.name}: not done after {options.limit:g} s', flush=True)
        for pid in ([program.pid] + children_of([program.pid]))[:SHOWN_PROCESSES]:
            show_stacks(pid)
        result = 'timeout'
    kill_all(program)
    output.join(1)
    if count(output.text(), result)[2] and not skip_reasons(output.text()):
        print(f'{options.name}: skips, and does not say why', flush=True)
        result = 'failed'
    record(options.name, result, time.monotonic() - start, output.text())
    sys.stdout.flush()
    os._exit({'passed': 0, 'skipped': EXIT_SKIPPED}.get(result, 1))


if __name__ == '__main__':
    main()
