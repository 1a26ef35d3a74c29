#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What `usvm chaos` says before it runs anything, and how it ends.

    refusals_test.py --usvm BUILD/usvm
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

EXIT_USAGE, EXIT_CANNOT, EXIT_NOT_RUN, EXIT_NOT_FOUND = 2, 77, 126, 127
failures = 0


def chaos(usvm, *arguments, **options):
    return subprocess.run([usvm, 'chaos', *arguments], check=False, capture_output=True,
                          text=True, timeout=30, **options)


def claim(name, is_so, run):
    global failures
    failures += not is_so
    print(f'[{"       OK" if is_so else "  FAILED "} ] {name}')
    if not is_so:
        print(f'  exit {run.returncode}\n  out: {run.stdout}\n  err: {run.stderr}')


def refused(name, run, status, text):
    claim(name, run.returncode == status and text in run.stderr and not run.stdout, run)


def make_file(folder, name, content, mode):
    path = os.path.join(folder, name)
    with open(path, 'wb') as file:
        file.write(content)
    os.chmod(path, mode)
    return path


def usage(usvm):
    refused('a_program_is_wanted', chaos(usvm), EXIT_USAGE, 'a program is wanted')
    for option in (['--seed', 'x'], ['--seed', '-1'], ['--rate', '0'], ['--rate', '1e3'],
                   ['--mode', 'both'], ['--plant', 'all'], ['--nonsense']):
        refused(f'{"_".join(option)}_is_refused', chaos(usvm, *option, 'true'), EXIT_USAGE,
                'bad ')
    for size in ('1M', '2M,x=y'):
        refused(f'--vram_{size}_is_refused', chaos(usvm, '--vram', size, 'true'), EXIT_USAGE,
                'is not a multiple of 2M')
    refused('--home_8K_is_refused', chaos(usvm, '--home', '8K', 'true'), EXIT_USAGE, 'bad device')
    run = chaos(usvm, '--help')
    claim('help_is_printed', run.returncode == 0 and '--rate' in run.stdout, run)


def programs(usvm, folder):
    with open('/bin/true', 'rb') as file:
        elf = bytearray(file.read())
    refused('a_program_that_is_not_there', chaos(usvm, 'no-such-program'), EXIT_NOT_FOUND,
            'No such file')
    refused('a_program_that_may_not_be_run',
            chaos(usvm, make_file(folder, 'plain', b'#!/bin/sh\n', 0o644)), EXIT_NOT_RUN,
            'Permission denied')
    other = bytearray(elf)
    other[18] = 3  # e_machine: i386
    refused('a_program_of_another_machine',
            chaos(usvm, make_file(folder, 'other', other, 0o755)), EXIT_CANNOT,
            'is not for x86-64')
    source = make_file(folder, 'static.c', b'int main(void) { return 0; }\n', 0o644)
    static = os.path.join(folder, 'static')
    if shutil.which('gcc') and not subprocess.run(['gcc', '-static', source, '-o', static],
                                                  check=False, capture_output=True).returncode:
        refused('a_static_program', chaos(usvm, static), EXIT_CANNOT, 'statically linked')
        refused('a_script_of_a_static_program',
                chaos(usvm, make_file(folder, 'script', f'#!{static} -x\n'.encode(), 0o755)),
                EXIT_CANNOT, 'statically linked')
    if os.geteuid() == 0:
        setuid = make_file(folder, 'setuid', elf, 0o755)
        os.chown(setuid, 65534, 65534)
        os.chmod(setuid, 0o4755)
        refused('a_set_user_id_program', chaos(usvm, setuid), EXIT_CANNOT, 'set-user-ID')
    musl = bytes(elf).replace(b'ld-linux-x86-64.so.2', b'ld-other-x86-64.so.2')
    refused('a_program_of_another_c_library',
            chaos(usvm, make_file(folder, 'musl', musl, 0o755)), EXIT_CANNOT,
            'another C library')
    refused('no_userfaultfd', chaos(usvm, 'true', env={**os.environ, 'USVM_FEATURES': '-uffd'}),
            EXIT_CANNOT, 'no userfaultfd')
    refused('no_kernel_faults',
            chaos(usvm, 'true', env={**os.environ, 'USVM_FEATURES': '-kernel_faults'}),
            EXIT_CANNOT, 'system calls could not touch')
    refused('no_agent', chaos(usvm, 'true', env={**os.environ, 'USVM_CHAOS_AGENT': '/none'}),
            EXIT_CANNOT, 'USVM_CHAOS_AGENT names cannot be read')


def ends(usvm, folder):
    path = os.path.join(folder, 'report')
    run = chaos(usvm, '--report', path, '--json', 'sh', '-c', 'echo out; echo err >&2; exit 41')
    with open(path, encoding='utf-8') as file:
        report = json.load(file)
    claim('the_exit_status_is_the_programs', run.returncode == 41 and report['exit'] == 41, run)
    claim('the_report_is_in_its_file', run.stdout == 'out\n' and run.stderr == 'err\n', run)
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1):
        run = chaos(usvm, '--', 'sh', '-c', f'kill -{int(number)} $$')
        claim(f'it_ends_by_{number.name}', run.returncode == -number and
              f'ended by signal {int(number)}' in run.stderr, run)
    program = subprocess.Popen(
        [usvm, 'chaos', 'sh', '-c', 'trap "echo got it; exit 5" TERM; echo; while :; do :; done'],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    program.stdout.readline()
    program.send_signal(signal.SIGTERM)
    program.stdout, out = None, program.stdout
    _, err = program.communicate(timeout=30)
    run = subprocess.CompletedProcess([], program.returncode, out.read(), err)
    claim('a_signal_is_passed_on', run.returncode == 5 and run.stdout == 'got it\n', run)


def main():
    parser = argparse.ArgumentParser(description='what usvm chaos refuses')
    parser.add_argument('--usvm', required=True)
    usvm = parser.parse_args().usvm
    run = chaos(usvm, 'true')
    if run.returncode == EXIT_CANNOT:
        print(f'SKIP: {run.stderr.strip()}')
        return 77
    print('[==========] Running 4 test(s).')
    with tempfile.TemporaryDirectory(prefix='chaos') as folder:
        os.chmod(folder, 0o755)
        usage(usvm)
        programs(usvm, folder)
        ends(usvm, folder)
    print(f'{failures} failed')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
