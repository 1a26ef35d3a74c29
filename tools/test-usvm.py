#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The usvm command: its manners, and that what it writes can be read.

    test-usvm.py USVM [manners|demo]

Bad usage ends with 2, a message on stderr and nothing on stdout; every help text
names its options; doctor's JSON agrees with its exit status; a trace is what
Perfetto asks of the Trace Event Format. Status 77 where nothing migrates here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

USVM = sys.argv[1]
failures = []


def run(*arguments, **environment):
    return subprocess.run([USVM, *arguments], capture_output=True, text=True,
                          env={**os.environ, **environment}, check=False)


def check(claim, holds):
    print(('ok   ' if holds else 'FAIL ') + claim)
    if not holds:
        failures.append(claim)


def test_bad_usage(*arguments):
    done = run(*arguments)
    name = 'usvm ' + ' '.join(arguments)
    check(f'{name}: status 2', done.returncode == 2)
    check(f'{name}: says what is wrong, and where help is',
          done.stderr.startswith('usvm') and '--help' in done.stderr and done.stdout == '')


def test_usage():
    for arguments in ([], ['dance'], ['--dance'], ['-x'], ['help', 'dance'],
                      ['help', 'demo', 'doctor'], ['--version', 'x'],
                      ['demo', '--dance'], ['demo', '-x'], ['demo', '--help=yes'],
                      ['demo', '--vram'], ['demo', '--vram', '12Q'],
                      ['demo', '--vram', '0'], ['demo', '--vram', '3M'],
                      ['demo', '--vram', '2MB'], ['demo', '--vram', '1025G'],
                      ['demo', '--mode', 'teleport'], ['demo', 'a', 'b'],
                      ['doctor', '--dance'], ['doctor', 'x'],
                      ['oracle', '--dance'], ['oracle', 'x'], ['oracle', '--seconds', '0'],
                      ['oracle', '--threads', '9'], ['oracle', '--mode', 'teleport'],
                      ['oracle', '--without', 'touch,dance'], ['oracle', '--vram', '3M'],
                      ['oracle', '--device', 'card'],
                      ['oracle', '--device', 'model', '--vram', '8M'],
                      ['oracle', '--threads', '8', '--steps', '4096'],
                      ['run'], ['run', '--dance', 'true'], ['run', '--profile', '--', 'true'],
                      ['chaos', '--vram', '3M', 'true'], ['run', '--vram', '3M', 'true'],
                      ['run', '--vram', '17179869186G', 'true'], # wraps to 2G
                      ['run', '--cards', '9', 'true'], ['run', '--profile', 'x', 'true'],
                      ['run', '--require-migration=up', 'true'],
                      ['run', '--placement=moon', 'true'],
                      ['run', '--migrate=sometimes', 'true'], ['run', '--poison=no', 'true'],
                      ['sim', '--dance'], ['sim', '--seed', 'x'],
                      ['sim', '--profile', 'dance']):
        test_bad_usage(*arguments)

    version = run('--version')
    check('--version', re.fullmatch(r'usvm \d+\.\d+\.\d+\n', version.stdout) is not None
          and version.returncode == 0)
    for arguments, words in (
            (['--help'], ['demo', 'doctor', '--version']),
            (['demo', '--help'], ['--mode', '--vram', '--trace', '--require-migration']),
            (['doctor', '--help'], ['--json']),
            (['oracle', '--help'], ['--seconds', '--seed', '--script', '--plant']),
            (['run', '--help'], ['--profile', '--cards', '--vram', '--stats', '--poison',
                                 '--require-migration', '--placement=auto|device', '--migrate',
                                 'USVM_LOG']),
            (['sim', '--help'], ['--seed', '--replay', '--minimise'])):
        done = run(*arguments)
        check(f'{" ".join(arguments)}: names what there is',
              done.returncode == 0 and all(word in done.stdout for word in words))
    check('help demo is demo --help', run('help', 'demo').stdout == run('demo', '--help').stdout)
    check('help is --help', run('help').stdout == run('--help').stdout == run('-h').stdout)
    for command in (['--help'], ['doctor'], ['demo']):
        with open('/dev/full', 'w', encoding='ascii') as full:
            done = subprocess.run([USVM, *command], stdout=full, stderr=subprocess.DEVNULL,
                                  check=False)
        check(f'{" ".join(command)}: a full disk is an error', done.returncode == 1)


def test_words():
    for command in ('demo', 'run', 'oracle', 'chaos'):
        check(f'{command}: bad sizes have one text', "--vram: '3M' is not a multiple of 2M up to "
              '1024G\n' in run(command, '--vram', '3M').stderr)
    check('run: the word behind an option is not its argument',
          '--profile wants an argument' in run('run', '--profile', '--', 'true').stderr)
    check('run: a library that cannot be read is told',
          '/nowhere/x.so: No such' in run('run', 'true', USVM_XE_LIBRARY='/nowhere/x.so').stderr)
    done = run('demo', '--trace', '/nowhere/trace.json', USVM)
    check('demo: a trace that cannot be written is told before the work', done.returncode == 1
          and done.stderr.startswith('usvm demo: /nowhere/trace.json: ') and not done.stdout)


def test_static_program():
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, 'static')
        built = subprocess.run(['gcc', '-static', '-x', 'c', '-', '-o', program], text=True,
                               input='int main(void) { return 0; }', capture_output=True,
                               check=False)
        if built.returncode:
            return
        done = run('run', program)
        check('run: a program that takes no card is told, status 77',
              done.returncode == 77 and 'statically linked' in done.stderr)


def test_lonely_command():
    with tempfile.TemporaryDirectory() as folder:
        alone = os.path.join(folder, 'usvm')
        shutil.copy(USVM, alone)
        libraries = {'LD_LIBRARY_PATH': os.path.dirname(os.path.abspath(USVM))}
        helped, done = (subprocess.run([alone, 'sim', *words], capture_output=True, text=True,
                                       env={**os.environ, **libraries}, check=False)
                        for words in (['--help'], []))
        if os.path.exists('/usr/local/libexec/usvm/usvm-sim'):
            return
        check('sim --help without the simulator is a help',
              helped.returncode == 0 and helped.stdout.startswith('Usage: usvm sim'))
        check('sim without the simulator: where it looked, and what builds it',
              done.returncode == 1 and folder in done.stderr and 'make build' in done.stderr)


def test_named_simulator():
    done = run('sim', '--seed', '1', USVM_SIM='/nowhere/usvm-sim')
    check('USVM_SIM names no program: told, and no other is taken',
          done.returncode == 1 and '/nowhere/usvm-sim: No such file' in done.stderr
          and done.stdout == '')


def test_doctor():
    text, answer = run('doctor'), run('doctor', '--json')
    report = json.loads(answer.stdout)
    bad = [c for c in report['checks'] if c['status'] != 'ok']
    check('doctor: both forms agree', text.returncode == answer.returncode
          and all(c['name'] in text.stdout for c in report['checks']))
    check('doctor: status and result agree',
          {0: 'full', 1: 'partly', 2: 'none'}[answer.returncode] == report['result'])
    check('doctor: full means that nothing is missing',
          (report['result'] == 'full') == (not bad))
    check('doctor: what is missing has its loss and its mend',
          all(c['lost'] and c['mend'] for c in bad))
    names = [c['name'] for c in report['checks']]
    check('doctor: a check is told once', len(names) == len(set(names)) and 'library' in names)

    masked = run('doctor', '--json', USVM_FEATURES='-move')
    library = {c['name']: c for c in json.loads(masked.stdout)['checks']}['library']
    check('doctor: without MOVE nothing migrates, status 2',
          masked.returncode == 2 and library['status'] == 'missing')


def test_home_only_demo():
    done = run('demo', USVM, USVM_FEATURES='-move')
    check('demo without MOVE: runs at home, and names the doctor',
          done.returncode == 0 and 'usvm doctor' in done.stdout
          and 'wrong bytes: 0' in done.stdout)
    check('demo without MOVE, --require-migration: status 1',
          run('demo', '--require-migration', USVM, USVM_FEATURES='-move').returncode == 1)


def number_after(text, label):
    found = re.findall(rf'^ *{label} +(\d+)', text, re.M)
    return int(found[-1]) if found else -1


def test_bad_input():
    with tempfile.NamedTemporaryFile() as empty:
        done = run('demo', empty.name)
        check('demo of an empty file: status 1, and says so',
              done.returncode == 1 and 'empty' in done.stderr)
    for arguments, says in ((['/nowhere/at/all'], '/nowhere/at/all'),
                            (['/dev/null'], 'regular'), (['/'], 'regular'),
                            (['--trace', '/nowhere/t', USVM],
                             '/nowhere/t: No such file')):
        done = run('demo', *arguments)
        check(f'demo {" ".join(arguments)}: status 1, and says so',
              done.returncode == 1 and says in done.stderr)


def test_bad_device():
    for variable, value in (('USVM_FEATURES', 'move'), ('USVM_FEATURES', '-dance'),
                            ('USVM_DEVICE', 'card'), ('USVM_DEVICE', 'model:vram=1')):
        done, doctor = (run(*arguments, **{variable: value})
                        for arguments in (['demo', USVM], ['doctor']))
        check(f'demo with {variable}={value}: status 1, and says so',
              done.returncode == 1 and f"{variable} is '{value}'" in done.stderr)
        check(f'doctor with {variable}={value}: status 2, and says so',
              doctor.returncode == 2 and f"{variable} is '{value}'" in doctor.stdout
              and 'No device can be opened' in doctor.stdout)

    done = subprocess.run(['sh', '-c', 'ulimit -n 4; exec "$0" demo "$0"', USVM],
                          capture_output=True, text=True, check=False)
    check('demo without descriptors: status 1, and says so',
          done.returncode == 1 and 'RLIMIT_NOFILE' in done.stderr)
    done = subprocess.run(['sh', '-c', 'ulimit -v 100000; exec "$0" demo "$0"', USVM],
                          capture_output=True, text=True, check=False)
    check('demo without address space: status 1, and says so',
          done.returncode == 1 and 'limited to 97 MiB' in done.stderr)


def test_demo():
    for mode in ('move', 'copy'):
        done = run('demo', '--mode', mode, '--require-migration')
        check(f'demo --mode {mode}: right', done.returncode == 0
              and 'wrong bytes: 0, wrong counts: 0' in done.stdout)
        for label in ('GPU faults', 'pages to the device', 'CPU faults', 'pages home'):
            check(f'demo --mode {mode}: {label}', number_after(done.stdout, label) > 0)
        places = [tuple(map(int, place)) for place in
                  re.findall(r'where the pages are +(\d+) on the device, (\d+) at home',
                             done.stdout)]
        check(f'demo --mode {mode}: all home, all on the device, all home',
              len(places) == 3 and places[0] == places[2] and places[0][0] == 0
              and places[1] == (places[0][1], 0))


def test_eviction():
    done = run('demo', '--mode', 'copy', '--vram', '8M', '--require-migration')
    check('demo --vram 8M: right', done.returncode == 0
          and 'wrong bytes: 0, wrong counts: 0' in done.stdout)
    check('demo --vram 8M: evicts', number_after(done.stdout, 'evictions') > 0)
    places = re.findall(r'where the pages are +(\d+) on the device', done.stdout)
    check('demo --vram 8M: no more on the device than it has',
          len(places) == 3 and 0 < int(places[1]) <= 2048)


def test_trace():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'trace.json')
        done = run('demo', '--trace', path, '--vram', '8M')
        check('demo --trace: runs', done.returncode == 0)
        with open(path, encoding='utf-8') as file:
            trace = json.load(file)
    events = trace['traceEvents']
    steps = [e for e in events if e['ph'] == 'X']
    named = {e['tid'] for e in events if e['ph'] == 'M' and e['name'] == 'thread_name'}
    check('trace: steps and metadata, nothing else',
          len(steps) > 0 and {e['ph'] for e in events} == {'X', 'M'})
    check('trace: every step has a time, a length and a place',
          all(isinstance(e[key], (int, float)) and e[key] >= 0
              for e in steps for key in ('ts', 'dur', 'pid', 'tid')))
    check('trace: it starts at 0, in order',
          steps[0]['ts'] == 0 and [e['ts'] for e in steps] == sorted(e['ts'] for e in steps))
    check('trace: address and bytes of every step',
          all(re.fullmatch('0x[0-9a-f]+', e['args']['addr']) and e['args']['bytes'] >= 0
              for e in steps))
    check('trace: every thread has a name', {e['tid'] for e in steps} <= named)
    kinds = {e['name'] for e in steps}
    check('trace: faults, migrations both ways and evictions',
          {'gpu_fault', 'cpu_fault', 'migrate_to_device', 'migrate_to_ram', 'evict'} <= kinds)


def migrates():
    report = json.loads(run('doctor', '--json').stdout)
    return report['result'] != 'none'


def main():
    part = sys.argv[2] if len(sys.argv) > 2 else ''
    if part in ('', 'manners'):
        test_usage()
        test_named_simulator()
        test_words()
        test_static_program()
        test_lonely_command()
        test_doctor()
        test_home_only_demo()
        test_bad_input()
        test_bad_device()
    if part in ('', 'demo') and migrates():
        test_demo()
        test_eviction()
        test_trace()
    if failures:
        print(f'{len(failures)} failed', file=sys.stderr)
        sys.exit(1)
    if part != 'manners' and not migrates():
        print('SKIP: nothing migrates here, see usvm doctor')
        sys.exit(77)


if __name__ == '__main__':
    main()
