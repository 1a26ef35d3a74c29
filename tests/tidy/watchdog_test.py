#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What run-test.py promises: no test hangs, hides, or is counted wrongly."""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
RUN_TEST = os.path.join(HERE, '..', '..', 'scripts', 'run-test.py')
failures = []

# What a cmocka program prints, with a group of its own for each count.
CMOCKA = r'''
[==========] Running 3 test(s).
[ RUN      ] one
[       OK ] one
[ RUN      ] two
[  FAILED  ] two
[ RUN      ] three
[  SKIPPED ] three
[==========] 3 test(s) run.
[  PASSED  ] 1 test(s).
[  SKIPPED ] 1 test(s), listed below:
[  SKIPPED ] three
[  FAILED  ] 1 test(s), listed below:
[  FAILED  ] two
'''


def run(script, limit=20.0, grace=5.0, options=()):
    """Returns (exit status, output, record) of a shell script under run-test.py."""
    with tempfile.NamedTemporaryFile() as results:
        done = subprocess.run(
            [sys.executable, RUN_TEST, '--name', 'a/b', '--limit', str(limit),
             '--grace', str(grace), *options, '--', 'sh', '-c', script],
            capture_output=True, text=True, check=False,
            env={**os.environ, 'USVM_TEST_RESULTS': results.name})
        return done.returncode, done.stdout, json.loads(results.read())


def claim(name, is_true, evidence):
    print(f'[{"       OK" if is_true else "  FAILED "} ] {name}')
    if not is_true:
        failures.append(name)
        print(evidence)


def counts(record):
    return record['passed'], record['failed'], record['skipped']


def is_alive(pid):
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def main():
    told = run('echo fine')
    claim('a_program_that_succeeds_counts_as_one',
          told[0] == 0 and counts(told[2]) == (1, 0, 0) and told[2]['result'] == 'passed', told)

    told = run('exit 3')
    claim('a_program_that_fails_counts_as_one',
          told[0] == 1 and counts(told[2]) == (0, 1, 0) and told[2]['result'] == 'failed', told)

    for line in ('[  FAILED  ] two', 'FAILED row, column'):
        told = run(f'echo "{line}"; exec sleep 100', options=['--until-failure'])
        claim(f'it_ends_at_the_first_failure: {line}',
              told[0] == 1 and told[2]['result'] == 'failed' and told[2]['seconds'] < 20, told)

    told = run('echo "[       OK ] FAILED"; exec sleep 0.1', options=['--until-failure'])
    claim('what_succeeds_goes_on_until_it_is_done',
          told[0] == 0 and counts(told[2]) == (1, 0, 0), told)

    told = run('echo SKIP: no moon; exit 77')
    claim('a_skip_is_passed_on_with_its_reason',
          told[0] == 77 and counts(told[2]) == (0, 0, 1) and told[2]['reasons'] == ['no moon'],
          told)

    told = run('exit 77')
    claim('a_skip_without_a_reason_is_a_failure',
          told[0] == 1 and 'does not say why' in told[1] and told[2]['result'] == 'failed', told)

    told = run(f"cat <<'END'\n{CMOCKA.replace('FAILED', 'PASSED')}\nEND")
    claim('nor_may_one_of_many_tests_skip_without_one', told[0] == 1 and
          'does not say why' in told[1] and told[2]['failed'] == 1, told)

    told = run('kill -SEGV $$')
    claim('a_crash_is_a_failure_and_named', told[0] == 1 and 'SIGSEGV' in told[1] and
          counts(told[2]) == (0, 1, 0), told)

    told = run(f"cat <<'END'\n{CMOCKA}\nSKIP: no moon\nEND\nexit 1")
    claim('cmocka_tests_are_counted_one_by_one', counts(told[2]) == (1, 1, 1), told)

    died = CMOCKA[:CMOCKA.index('[ RUN      ] two')]
    told = run(f"cat <<'END'\n{died}\nEND\nkill -ABRT $$")
    claim('a_crash_among_cmocka_tests_keeps_what_passed', counts(told[2]) == (1, 1, 0), told)

    told = run('echo pid $$; sleep 1000 & echo pid $!; setsid sleep 1000 & echo pid $!; wait',
               limit=0.5)
    pids = [int(line.split()[1]) for line in told[1].splitlines() if line.startswith('pid ')]
    claim('a_hang_is_ended_and_shown',
          told[0] == 1 and told[2]['result'] == 'timeout' and 'not done after 0.5 s' in told[1]
          and f'thread {pids[0]}' in told[1], told)
    claim('nothing_is_left_of_a_hang',
          len(pids) == 3 and not any(is_alive(pid) for pid in pids), told)

    told = run('(sleep 0.2; echo late) & exit 0')
    claim('children_have_a_moment_to_end', told[0] == 0 and 'late' in told[1], told)

    told = run('setsid sleep 1000 & echo pid $!', grace=0.5)
    pid = int(told[1].split()[1])
    claim('a_program_that_leaves_processes_has_failed',
          told[0] == 1 and 'left processes behind' in told[1] and not is_alive(pid), told)

    print(f'{len(failures)} failed')
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    main()
