#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Build and test everything; the last line is "N passed, N failed, N skipped".

    check.py                what `make check` and CI run
    check.py --sanitize     unit and live tests under ASan + UBSan, and under TSan
    check.py --flake N      live and stress tests, N times
    check.py --only WORD    only the steps whose name has WORD in it (and builds)

Each step has a budget in seconds, for 2 processors; BUDGET_TOTAL bounds their
sum. A step over its budget is marked in the table, and fails nothing: time is
the machine's. The output of each step is in BUILD/check-logs/.

cmocka programs are counted by their tests, other programs as one each. In the
build with a planted defect a test passes the check by failing.
"""

import argparse
import collections
import json
import os
import shutil
import subprocess
import sys
import time

BUDGET_TOTAL = 600
STEP_SECONDS_MAX = 900

# Tests at a time, of those that bear company: most wait, for threads, children and pages,
# more than they compute.
TESTS_PER_PROCESSOR = 2

# name -> (options of meson, environment of its setup, what ninja builds: all)
BUILDS = {
    'build': (['-Dtests=enabled'], {'CC': 'gcc'}, []),
    'build-debug': (['-Dtests=enabled', '-Dlock_check=true', '-Dinvariants=true'],
                    {'CC': 'clang'}, []),
    'build-plant': (['-Dtests=enabled', '-Dplant=home_only'], {'CC': 'gcc'}, []),
    'build-fuzz': (['-Dfuzz=libfuzzer', '-Dtests=disabled', '-Dlock_check=true',
                    '-Db_sanitize=address,undefined'], {'CC': 'clang'}, ['fuzz-programs']),
    'build-asan': (['-Dtests=enabled', '-Dlock_check=true', '-Dinvariants=true',
                    '-Db_sanitize=address,undefined'], {'CC': 'gcc'}, []),
    'build-tsan': (['-Dtests=enabled', '-Dlock_check=true', '-Db_sanitize=thread'],
                   {'CC': 'gcc'}, []),
}

FEATURE_MASKS = ('-uffd', '-move', '-kernel_faults', '-wp_async', '-procmap_query',
                 '-pagemap_scan', '-event_fork', '-guard', '-poison', '-membarrier',
                 '-thread_id')

HOME_MASKS = FEATURE_MASKS[:3]  # nothing migrates: most tests end at once

# With a mask: every live test but those whose subject is time, load, the mask itself, or
# what stands above a kernel's features.
NOT_MASKED = ('bo', 'deadlocks', 'deadlocks_threads', 'fork_keeper', 'life', 'oversubscription',
              'run_modes', 'sys_access', 'sys_features', 'sys_lifetime', 'take_race')

Step = collections.namedtuple('Step', 'name kind build suite budget mask', defaults=[''])

CHECK_STEPS = [
    Step('compile', 'compile', 'build', '', 35),
    Step('tidy', 'test', 'build', 'tidy', 8),
    Step('layers', 'test', 'build', 'layers', 8),
    Step('abi', 'test', 'build', 'abi', 3),
    Step('install', 'test', 'build', 'install', 5),
    Step('unit', 'test', 'build', 'unit', 12),
    Step('live', 'test', 'build', 'live', 35),
    Step('examples', 'test', 'build', 'examples', 6),
    Step('device', 'test', 'build', 'device', 16),
    Step('bench --smoke', 'test', 'build', 'bench', 6),
    Step('counts', 'test', 'build', 'counts', 4),
    Step('sim', 'test', 'build', 'sim', 29),
    Step('fidelity', 'test', 'build', 'fidelity', 12),
    Step('matrix', 'test', 'build', 'matrix', 30),
    Step('plants', 'test', 'build', 'plants', 34),
    Step('chaos', 'test', 'build', 'chaos', 12),
    Step('fuzz corpus', 'test', 'build', 'fuzz', 3),
    Step('stress', 'test', 'build', 'stress', 28),
    Step('igt', 'test', 'build', 'igt', 23),
    Step('debug: compile', 'compile', 'build-debug', '', 35),
    Step('debug: unit', 'test', 'build-debug', 'unit', 12),
    Step('debug: live', 'test', 'build-debug', 'live', 38),
    Step('fuzz: compile', 'compile', 'build-fuzz', '', 15),
    Step('fuzz', 'test', 'build-fuzz', 'fuzz', 12),
    Step('plant: compile', 'compile', 'build-plant', '', 25),
    Step('plant: all must fail', 'plant', 'build-plant', 'plant', 35),
] + [
    Step(f'live, {mask}', 'test', 'build', 'live', 5 if mask in HOME_MASKS else 13, mask)
    for mask in FEATURE_MASKS
]

SANITIZE_STEPS = [
    Step('asan: compile', 'compile', 'build-asan', '', 90),
    Step('asan: unit', 'test', 'build-asan', 'unit', 60),
    Step('asan: live', 'test', 'build-asan', 'live', 180),
    Step('tsan: compile', 'compile', 'build-tsan', '', 90),
    Step('tsan: unit', 'test', 'build-tsan', 'unit', 120),
    Step('tsan: live', 'test', 'build-tsan', 'live', 240),
    Step('tsan: device', 'test', 'build-tsan', 'device', 60),
]


def flake_steps(rounds):
    steps = [Step('compile', 'compile', 'build', '', 40),
             Step('matrix, marked', 'test', 'build', 'marked', 60)]
    for number in range(1, rounds + 1):
        steps.append(Step(f'live, round {number}', 'test', 'build', 'live', 40))
        steps.append(Step(f'stress, round {number}', 'test', 'build', 'stress', 60))
    return steps


def without_aslr():
    """TSan's shadow does not fit every layout that newer kernels choose."""
    command = ['setarch', os.uname().machine, '-R']
    if shutil.which('setarch') and subprocess.run(
            command + ['true'], check=False, stderr=subprocess.DEVNULL).returncode == 0:
        return command
    return []


class Check:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.rows = []      # (step, seconds, passed, failed, skipped)
        self.failures = []  # text
        self.skips = {}     # (step, reason) -> names of tests
        self.broken = set() # builds that did not compile

    # -- running

    def run(self, step, command, environment):
        """Run with output into the step's log. Returns (status, log's path)."""
        folder = os.path.join(step.build, 'check-logs')
        os.makedirs(folder, exist_ok=True)
        name = ''.join(c if c.isalnum() or c == '-' else '_' for c in step.name)
        path = os.path.join(folder, name + '.log')
        with open(path, 'wb') as log:
            try:
                status = subprocess.run(
                    command, check=False, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, timeout=STEP_SECONDS_MAX,
                    env={**os.environ, **environment}).returncode
            except subprocess.TimeoutExpired:
                log.write(f'\nnot done after {STEP_SECONDS_MAX} s\n'.encode())
                status = 1
        return status, path

    def compile(self, step):
        options, environment, targets = BUILDS[step.build]
        wanted = json.dumps([options, environment])
        stamp = os.path.join(step.build, 'check-options')
        have = ''
        if os.path.exists(stamp):
            with open(stamp, encoding='utf-8') as file:
                have = file.read()
        status, log = 0, ''
        if have != wanted:
            if have:  # of another check: the compiler may be another
                shutil.rmtree(step.build)
            verb = 'setup'
            if os.path.exists(os.path.join(step.build, 'build.ninja')):
                verb = 'configure'  # it is there, by `make demo`
            status, log = self.run(step, ['meson', verb, step.build] + options, environment)
            if status == 0:
                with open(stamp, 'w', encoding='utf-8') as file:
                    file.write(wanted)
        if status == 0:
            status, log = self.run(step, ['ninja', '-C', step.build] + targets, {})
        if status != 0:
            self.broken.add(step.build)
            self.fail(step, 'does not build', log)
            return 0, 1, 0
        return 0, 0, 0

    @staticmethod
    def masked_tests(step):
        listed = json.loads(subprocess.run(
            ['meson', 'introspect', step.build, '--tests'], check=True,
            capture_output=True, text=True).stdout)
        return [test['name'] for test in listed
                if test['name'].startswith(step.suite + '/')
                and test['name'].partition('/')[2] not in NOT_MASKED]

    def run_suite(self, step):
        """Run a suite. Returns (status, log, records of run-test.py)."""
        results = os.path.abspath(os.path.join(step.build, 'check-results'))
        open(results, 'w', encoding='utf-8').close()
        environment = {'USVM_TEST_RESULTS': results}
        if step.mask:
            environment['USVM_FEATURES'] = step.mask
        command = ['meson', 'test', '-C', step.build, '--no-rebuild',
                   '--print-errorlogs', '--suite', step.suite,
                   '--num-processes', str(TESTS_PER_PROCESSOR * (os.cpu_count() or 1))]
        if step.mask:
            command += self.masked_tests(step)
        if step.build == 'build-tsan':
            command = without_aslr() + command
        status, log = self.run(step, command, environment)
        with open(results, encoding='utf-8') as file:
            return status, log, [json.loads(line) for line in file]

    def test(self, step):
        status, log, records = self.run_suite(step)
        passed = sum(record['passed'] for record in records)
        failed = sum(record['failed'] for record in records)
        skipped = sum(record['skipped'] for record in records)
        for record in records:
            if record['skipped']:
                self.skip(step, record)
        bad = [f'{record["name"]} ({record["result"]})' for record in records
               if record['result'] in ('failed', 'timeout')]
        if not records:
            failed = 1
            self.fail(step, 'no tests', log)
        elif bad or failed or status != 0:
            failed = max(1, failed)
            self.fail(step, ', '.join(bad) or f'meson test: exit {status}', log)
        return passed, failed, skipped

    def plant(self, step):
        """Every test of the suite has to fail, by itself and in time."""
        listed = json.loads(subprocess.run(
            ['meson', 'introspect', step.build, '--tests'], check=True,
            capture_output=True, text=True).stdout)
        suites = {test['name']: {suite.partition(':')[2] or suite
                                 for suite in test['suite']} for test in listed}
        wanted = {name for name, of in suites.items() if step.suite in of}
        must = {suite for name in wanted for suite in suites[name]}
        exempt = sorted(name for name, of in suites.items()
                        if of & must and step.suite not in of)

        _, log, records = self.run_suite(step)
        by_name = {record['name']: record for record in records}
        passed = failed = skipped = 0
        for name in sorted(wanted):
            result = by_name[name]['result'] if name in by_name else 'missing'
            if result == 'failed':
                passed += 1
            elif result == 'skipped':
                skipped += 1
                self.skip(step, by_name[name])
            else:
                failed += 1
                why = {'passed': 'passed although nothing migrates',
                       'timeout': 'hung instead of failing',
                       'missing': 'was not run'}[result]
                self.fail(step, f'{name} {why}', '')
        if not wanted:
            failed = 1
            self.fail(step, 'no tests', log)
        if exempt:
            print(f'  (they look at no page on a device, and may pass: {", ".join(exempt)})')
        return passed, failed, skipped

    # -- telling

    def fail(self, step, what, log):
        text = f'{step.name}: {what}'
        self.failures.append(text + (f' (see {log})' if log else ''))
        print(f'FAILED {text}')
        if log:
            with open(log, encoding='utf-8', errors='replace') as file:
                print(''.join('    ' + line for line in file.readlines()[-150:]))

    def skip(self, step, record):
        for reason in record['reasons'] or ['it gave no reason']:
            self.skips.setdefault((step.name, reason), []).append(record['name'])

    def step(self, step):
        if step.build in self.broken:
            return
        start = time.monotonic()
        passed, failed, skipped = getattr(self, step.kind)(step)
        seconds = time.monotonic() - start
        self.passed += passed
        self.failed += failed
        self.skipped += skipped
        self.rows.append((step, seconds, passed, failed, skipped))
        mark = '  OVER BUDGET' if seconds > step.budget else ''
        done = f'{passed:7} passed{failed:4} failed{skipped:4} skipped'
        if step.kind == 'compile':
            done = f'{"no" if failed else "":>7} built'
        print(f'{step.name:24}{seconds:8.1f} s of {step.budget:4}{done}{mark}', flush=True)

    def summary(self):
        """The last words. Returns the exit status."""
        total = sum(row[1] for row in self.rows)
        budget = sum(row[0].budget for row in self.rows)
        over = [row[0].name for row in self.rows if row[1] > row[0].budget]
        print(f'{"total":24}{total:8.1f} s of {budget:4}')
        if over:
            print(f'over budget: {", ".join(over)}')
        for (step, reason), names in self.skips.items():
            print(f'skipped: {step}: {reason}: {", ".join(names)}')
        for text in self.failures:
            print(f'failed: {text}')
        print(f'{self.passed} passed, {self.failed} failed, {self.skipped} skipped',
              flush=True)
        return 1 if self.failed else 0


def main():
    parser = argparse.ArgumentParser(description='build and test everything')
    parser.add_argument('--sanitize', action='store_true')
    parser.add_argument('--flake', type=int, default=0, metavar='ROUNDS')
    parser.add_argument('--only', default='', metavar='WORD')
    options = parser.parse_args()
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))

    if options.sanitize:
        steps = SANITIZE_STEPS
    elif options.flake:
        steps = flake_steps(options.flake)
    else:
        steps = CHECK_STEPS
        assert sum(step.budget for step in steps) <= BUDGET_TOTAL
    tests = [step for step in steps if options.only in step.name and step.kind != 'compile']
    builds = {step.build for step in tests}

    print(f'{"step":24}{"took":>8}   budget{"tests":>7}', flush=True)
    check = Check()
    for step in steps:
        if step in tests or (step.kind == 'compile' and step.build in builds):
            check.step(step)
    sys.exit(check.summary())


if __name__ == '__main__':
    main()
