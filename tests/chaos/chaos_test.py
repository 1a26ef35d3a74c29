#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Real programs under `usvm chaos`: each does what it does without.

    chaos_test.py --usvm BUILD/usvm --behave BUILD/tests/chaos/behave [CASE...]
        [--programs | --behaviours]   real programs only; only what behave.c does
        [--runs N]     each program N times, from other seeds (default: 1)
        [--long]       larger inputs, and what is asked of the numbers too
        [--mode M]     move, copy, or both by turns (default)
        [--rate N]     steps a second (default: 400)
    [--seconds N]  a run that takes longer hangs (default: 120)
        [--plant]      with lost pages: each program must differ, be killed or hang
        [--list]       print the cases

A case runs a program alone and with chaos, in folders of their own, and compares exit
status, standard output and error, and the files that it left.

With --long also: of the private anonymous memory that lay for a second half went to the
device, and over the run of a large program a thousand pages came home by the program and
a thousand by its system calls.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

EXIT_SKIPPED = 77
HOMECOMINGS = 1000
SHARE = 0.5

SQL = """
create table t(a integer primary key, b text, c real);
begin; with recursive n(i) as (select 1 union all select i+1 from n where i<{rows})
  insert into t select i, hex(i*7919), i*0.5 from n; commit;
create index tb on t(b);
begin; update t set c=c*2 where a%3=0; delete from t where a%7=0; rollback;
begin; update t set c=c+1 where a%5=0; savepoint s; delete from t where a%11=0;
  rollback to s; commit;
select count(*), sum(a), sum(c), max(b) from t;
select a, b from t order by b desc limit 20;
select sum(length(b)) from (select t1.b from t t1 join t t2 on t1.a=t2.a+1 order by t1.b);
pragma integrity_check;
"""

PERL = """
my %h;
for my $i (1..{keys}) {{ $h{{"k".($i*7919%100003)}} .= chr(65+$i%26) }}
my $s = 0;
for my $k (sort keys %h) {{ $s = ($s*31 + length($h{{$k}}) + ord($h{{$k}})) % 1000000007 }}
print "$s\\n";
my $text = join(" ", map {{ $_*7919%9973 }} 1..{keys}/4);
my $n = () = $text =~ /(\\d)\\1/g;
print "$n\\n", `echo of a child`, system("exit 3") >> 8, "\\n";
"""

# Some tests tell what their threads do, in the order in which they happen to do it.
QUIETLY = """
import sys, unittest, test.support
test.support.verbose = 0
unittest.main(None, argv=['unittest', '-q'] + sys.argv[1:])
"""

CODE = """
#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define F(n) {linkage} double f##n(double x) { double s = n; for (int i = 0; i < 40; i++) \\
    s = s * x + sin(s) / (n + i + 1); return s; }
#define TEN(n) F(n##0) F(n##1) F(n##2) F(n##3) F(n##4) F(n##5) F(n##6) F(n##7) F(n##8) F(n##9)
{functions}
int main(void) { printf("%.9g\\n", f10(.1) + f25(.2) + f47(.3) + f99(.4)); return 0; }
"""


class Skip(Exception):
    pass


class Differs(Exception):
    pass


def need(*tools):
    for tool in tools:
        if not shutil.which(tool):
            raise Skip(f'{tool} is not installed (scripts/deps.sh chaos)')


def text_file(path, lines):
    """Lines that follow from their numbers, in no order."""
    with open(path, 'w', encoding='ascii') as file:
        for number in range(lines):
            word = hashlib.md5(str(number).encode()).hexdigest()
            file.write(f'{word} {number * 7919 % 104729}\n')


class Case:
    """One program. command() prepares a folder and gives what is to be run there."""
    large = True  # asked for homecomings and its share, with --long
    kernel = False # has system calls on much of the memory that goes out
    plant = True  # a lost page shows

    def __init__(self, options):
        self.options = options
        self.long = options.long

    def normal(self, text):
        return text


class Xz(Case):
    def command(self, folder):
        need('xz')
        text_file(os.path.join(folder, 'text'), 60000 if self.long else 15000)
        return ['sh', '-c', 'xz -k -T2 -3 --block-size=1MiB text && xz -dc -T2 text.xz | cksum']


class Sqlite(Case):
    kernel = True

    def command(self, folder):
        need('sqlite3')
        rows = 400000 if self.long else 30000
        with open(os.path.join(folder, 'script'), 'w', encoding='ascii') as file:
            file.write(SQL.replace('{rows}', str(rows)))
        return ['sh', '-c', 'sqlite3 file.db < script']


class Python(Case):
    def command(self, folder):
        python = sys.executable
        tests = ['test_dict']
        if self.long:
            # Those that use memory, or children; not those that mostly sleep.
            tests += ['test_list', 'test_mmap', 'test_bytes', 'test_re', 'test_os',
                      'test_zlib', 'test_lzma']
        if subprocess.run([python, '-c', 'import ' + ', '.join('test.' + t for t in tests)],
                          check=False, capture_output=True).returncode:
            raise Skip('python3 has no test package')
        return [python, '-c', QUIETLY] + ['test.' + name for name in tests]

    def normal(self, text):
        return re.sub(rb' in [\d.]+s|0x[0-9a-f]+|\d+:\d+', b'', text)


class Gcc(Case):
    def command(self, folder):
        need('gcc')
        count, tens, linkage = (2, 40, '') if self.long else (1, 9, 'static')
        functions = ' '.join(f'TEN({number})' for number in range(1, tens + 1))
        for number in range(count):
            with open(os.path.join(folder, f'{number}.c'), 'w', encoding='ascii') as file:
                file.write(CODE.replace('{functions}', functions).replace('{linkage}', linkage))
        return ['sh', '-c', f'for i in $(seq 0 {count - 1}); do '
                'gcc -O2 -g $i.c -o $i -lm && ./$i || exit 1; done']


class Perl(Case):
    def command(self, folder):
        need('perl')
        return ['perl', '-e', PERL.format(keys=600000 if self.long else 60000)]


class Sort(Case):
    kernel = True

    def command(self, folder):
        need('sort')
        text_file(os.path.join(folder, 'text'), 600000 if self.long else 60000)
        return ['sort', '--parallel=2', '-S', '24M', '-o', 'sorted', 'text']


class Redis(Case):
    """A server that is filled, asked, saved by a child of fork(), and asked for a sum."""
    def command(self, folder):
        need('redis-server', 'redis-cli', 'redis-benchmark')
        keys = 30000 if self.long else 4000
        with open(os.path.join(folder, 'fill'), 'w', encoding='ascii') as file:
            for number in range(keys):
                file.write(f'SET key:{number} {"v" * (number % 300)}{number}\r\n')
                file.write(f'LPUSH list:{number % 100} {number * 7919}\r\n')
                file.write(f'ZADD zset {number * 31 % 10007} member:{number}\r\n')
        requests = 20000 if self.long else 1000
        script = f"""
            chaos="$@"
            $chaos redis-server --port 0 --unixsocket s --save '' --daemonize no \\
                --logfile log --enable-debug-command local & server=$!
            tries=0
            until redis-cli -s s ping >/dev/null 2>&1; do
                tries=$((tries + 1)); [ $tries -lt 5000 ] || exit 9
            done
            redis-cli -s s --pipe < fill | tail -1
            redis-cli -s s debug digest
            redis-benchmark -s s -q -n {requests} -c 20 -P 4 -t get,lrange_100 >/dev/null || exit 8
            redis-cli -s s bgsave >/dev/null
            until redis-cli -s s info persistence | grep -q rdb_bgsave_in_progress:0; do :; done
            redis-cli -s s info persistence | grep rdb_last_bgsave_status
            redis-cli -s s debug reload
            redis-cli -s s debug digest
            redis-cli -s s dbsize
            redis-cli -s s shutdown nosave
            wait $server; echo "server: $?"
            rm -f log s dump.rdb fill
        """
        return ['sh', '-c', script, 'sh']

    chaos_is_last = True  # the server is to be run with it, and not the shell


class Behave(Case):
    large = False
    name = ''

    def command(self, folder):
        if self.name == 'other_user' and os.geteuid():
            raise Skip('not root')
        return [os.path.abspath(self.options.behave), self.name]


def behave(name, plant=False):
    return type(name, (Behave,), {'name': name, 'plant': plant})


CASES = {
    'xz': Xz, 'sqlite': Sqlite, 'python': Python, 'gcc': Gcc, 'perl': Perl, 'sort': Sort,
    'redis': Redis,
}
for behaviour in ('aborts', 'children', 'churn', 'closed', 'descriptors', 'environment', 'fault',
                  'first_thread_ends', 'handled_fault', 'killed', 'limits', 'other_user',
                  'threads_that_fork', 'ticking'):
    CASES[behaviour] = behave(behaviour, plant=behaviour in ('children', 'closed'))


def files_of(folder):
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            whole = os.path.join(path, name)
            if not os.path.isfile(whole):
                continue
            with open(whole, 'rb') as file:
                found[os.path.relpath(whole, folder)] = hashlib.sha256(file.read()).hexdigest()
    return found


def end_session(leader):
    """What is left of a program that went wrong."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run(case, prefix, work, seconds):
    """Run in a folder of the same name each time. Returns (status, out, err, files)."""
    folder = os.path.join(work, 'run')
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    os.chmod(folder, 0o777)
    command = case.command(folder)
    if getattr(case, 'chaos_is_last', False):
        command = command + prefix
    else:
        command = prefix + command
    environment = {**os.environ, 'LC_ALL': 'C', 'PYTHONHASHSEED': '0', 'PYTHONDONTWRITEBYTECODE':
                   '1', 'PWD': folder}
    program = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True)
    try:
        out, err = program.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        end_session(program.pid)
        out, err = program.communicate()
        return 'hangs', out, err, {}
    end_session(program.pid)
    return program.returncode, case.normal(out), case.normal(err), files_of(folder)


def compare(alone, chaos):
    """What differs, or ''."""
    for what, a, b in zip(('exit status', 'standard output', 'standard error', 'files'),
                          alone, chaos):
        if a != b:
            show = f'\n  alone: {str(a)[-600:]}\n  chaos: {str(b)[-600:]}'
            return f'the {what} differs{show}'
    return ''


class Runner:
    def __init__(self, options):
        self.options = options
        self.failed = 0
        self.skipped = 0
        self.opened = 0 # agents; a program may end sooner

    def prefix(self, turn, report):
        modes = ['move', 'copy'] if self.options.mode == 'both' else [self.options.mode]
        command = [os.path.abspath(self.options.usvm), 'chaos', '--json', '--report', report,
                   '--seed', str(self.options.seed + turn), '--mode', modes[turn % len(modes)],
                   '--rate', str(self.options.rate), '--vram', '64M']
        if self.options.plant:
            command += ['--plant', 'lose-one-page']
        return command + ['--']

    def case(self, name):
        """Returns the reports of the runs that agreed."""
        case = CASES[name](self.options)
        reports = []
        with tempfile.TemporaryDirectory(prefix='chaos') as work:
            os.chmod(work, 0o777)
            alone = run(case, [], work, self.options.seconds)
            again = run(case, [], work, self.options.seconds) if self.options.long else alone
            if compare(alone, again):
                raise Skip(f'alone it is not the same twice: {compare(alone, again)}')
            for turn in range(self.options.runs):
                report = os.path.join(work, 'report')
                chaos = run(case, self.prefix(turn, report), work, self.options.seconds)
                difference = compare(alone, chaos)
                if chaos[0] == EXIT_SKIPPED and b'usvm chaos: ' in chaos[2]:
                    raise Skip(chaos[2].decode().strip())
                if bool(difference) != self.options.plant:
                    raise Differs(difference or 'pages are lost, and nothing differs')
                if os.path.exists(report):
                    with open(report, encoding='utf-8') as file:
                        reports.append(json.load(file))
        return reports

    def numbers(self, name, reports):
        """What a long run is asked for. Returns what is missing."""
        case = CASES[name]
        counts = {key: sum(r['counts'][key] for r in reports) for key in reports[0]['counts']}
        self.opened += counts['opened']
        if not (self.options.long and case.large):
            return ''
        share = counts['lain_out'] / max(1, counts['lain'])
        if counts['lain'] and share < SHARE:
            return f'{share:.0%} of the memory went out'
        for kind in ('faults_user',) + (('faults_kernel',) if case.kernel else ()):
            if counts[kind] < HOMECOMINGS:
                return f'{kind}: {counts[kind]}, of {HOMECOMINGS}'
        return ''

    def one(self, name):
        start = time.monotonic()
        print(f'[ RUN      ] {name}', flush=True)
        try:
            reports = self.case(name)
            missing = '' if self.options.plant or not reports else self.numbers(name, reports)
        except Skip as skip:
            self.skipped += 1
            print(f'SKIP: {skip}\n[  SKIPPED ] {name}')
            return
        except Differs as differs:
            missing, reports = str(differs), []
        total = {key: sum(r['counts'][key] for r in reports)
                 for key in ('pages_out', 'faults_user', 'faults_kernel', 'lain', 'lain_out')
                 } if reports else {}
        if missing:
            self.failed += 1
            print(f'{missing}\n[  FAILED  ] {name}', flush=True)
            return
        if total:
            print(f'  {total["pages_out"]} pages out; home: {total["faults_user"]} by the '
                  f'program, {total["faults_kernel"]} by system calls; '
                  f'{total["lain_out"] / max(1, total["lain"]):.0%} of '
                  f'{total["lain"] / 256:.0f} MiB that lay; '
                  f'{time.monotonic() - start:.1f} s')
        print(f'[       OK ] {name}', flush=True)


def main():
    parser = argparse.ArgumentParser(description='real programs under usvm chaos')
    parser.add_argument('--usvm', required=True)
    parser.add_argument('--behave', required=True)
    parser.add_argument('--runs', type=int, default=1)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--rate', type=int, default=400)
    parser.add_argument('--seconds', type=int, default=120)
    parser.add_argument('--mode', choices=['move', 'copy', 'both'], default='both')
    parser.add_argument('--long', action='store_true')
    parser.add_argument('--plant', action='store_true')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--programs', action='store_true', help='real programs only')
    parser.add_argument('--behaviours', action='store_true', help='behave only')
    parser.add_argument('cases', nargs='*')
    options = parser.parse_args()
    if options.list:
        print('\n'.join(CASES))
        return 0
    names = options.cases or [name for name, case in CASES.items()
                              if (case.plant or not options.plant) and
                              not (options.programs and issubclass(case, Behave)) and
                              not (options.behaviours and not issubclass(case, Behave))]
    print(f'[==========] Running {len(names)} test(s). seed {options.seed}', flush=True)
    runner = Runner(options)
    for name in names:
        runner.one(name)
    if not runner.opened and not runner.skipped and not options.plant:
        runner.failed += 1
        print('no agent opened a device')
    print(f'{len(names)} cases, {runner.failed} failed')
    if not runner.failed and runner.skipped == len(names):
        return EXIT_SKIPPED
    return 1 if runner.failed else 0


if __name__ == '__main__':
    sys.exit(main())
