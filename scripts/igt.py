#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run subtests of IGT on the virtual card, a process each, and tell what became of them.

    igt.py --root DIR [--profile NAME] [--jobs N] [--limit SECONDS] [--match REGEX]
           [--every N] [--results FILE] [--rerun FILE] [--require-migration] [--poison]
           [--placement device] [--migrate MODE] [--user UID] [--list FILE] [--again N]
           BINARY...
    igt.py --write docs/igt.md RESULTS...
    igt.py --time RESULTS...

scripts/igt.sh calls it, in a namespace where DIR/usvm is the build. Subtests that change
the number of huge pages of the system run alone, behind the others.

--every N takes every N-th subtest. --list takes those of a file with a binary and a subtest
on each line. --require-migration asks each subtest for what igt-expect.txt says of it; the
others are those of `usvm run`. --user runs them as an ordinary user. --rerun takes those
that did not pass in the results of an earlier run. What neither passed nor was skipped is
run N times more behind all others, by itself (3, unless --again says otherwise). A line of
JSON for each subtest goes to --results: binary, subtest, profile, result (pass, fail, skip,
timeout, crash), seconds, and the line that tells why; before them one that tells what was
run, behind them one with the time.

Without a BINARY it is all of those that use the compute side of a card. Each has the memory
that it was written for, unless --vram says otherwise.

--time tells how long each file's runs took, and adds up the seconds of the subtests that are
in all of them.

--write makes the document out of such files, up to the line BY_HAND: what stands behind
that is kept. Of a subtest that is in several, of one profile, the last line counts, and the
document says how many were repeated. What was run again by itself counts as it was at
first, and the document says how often it passed then.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import igt_expect

FOLDER = '/usr/libexec/igt-gpu-tools'
BINARIES = ('xe_create xe_evict xe_exec_atomic xe_exec_basic xe_exec_compute_mode'
            ' xe_exec_fault_mode xe_exec_store xe_exec_system_allocator xe_exec_threads'
            ' xe_madvise xe_mmap xe_multigpu_svm xe_page_reclaim xe_prefetch_fault xe_query'
            ' xe_svm_usrptr_madvise xe_tlb xe_vm xe_waitfence').split()
VRAM = {'xe_vm': '4G'}  # it binds up to 2 GiB, and asks for more than that
BY_HAND = '<!-- by hand from here on -->'
ALONE = re.compile(r'huge')  # they write nr_hugepages, for the whole system
MANY_CARDS = re.compile(r'multigpu')
REASON = re.compile(r'(?:CRITICAL|Test requirement not|requirement not met|SKIP|Failed assertion'
                    r'|Received signal|error:)[^\n]*')
RESULT = re.compile(r'^Subtest \S+: (SUCCESS|FAIL|SKIP|CRASH|TIMEOUT)', re.M)
JUDGED = re.compile(r'^usvm run: .*no (?:page|process) .*', re.M)
NAMES = {'SUCCESS': 'pass', 'FAIL': 'fail', 'SKIP': 'skip', 'CRASH': 'crash',
         'TIMEOUT': 'timeout'}


def list_subtests(root, binary):
    done = subprocess.run(['chroot', root, f'{FOLDER}/{binary}', '--list-subtests'],
                          capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.split()


def why(text):
    found = [m.group(0).strip() for m in REASON.finditer(text)]
    picked = [line for line in found if 'Failed assertion' in line or 'requirement' in line]
    picked = JUDGED.findall(text) or picked or found
    return picked[0][:200] if picked else ''


# Messages to children have a key that is the same in each run: a namespace for each.
ALONE_IN_NAMESPACE = ['unshare', '--ipc', 'sh', '-c',
                      'echo 1048576 >/proc/sys/kernel/msgmnb; exec "$@"', 'igt']


def run_one(options, binary, subtest):
    user = [f'--userspec={options.user}:{options.user}', '--groups='] if options.user else []
    command = ['chroot', *user, options.root, '/usvm/usvm', 'run', '--profile', options.profile]
    if MANY_CARDS.search(subtest) or binary == 'xe_multigpu_svm':
        command = ALONE_IN_NAMESPACE + command + ['--cards', '2']
    vram = options.vram or VRAM.get(binary)
    if vram:
        command += ['--vram', vram]
    if options.poison:
        command.append('--poison')
    if options.placement:
        command += ['--placement', options.placement]
    if options.migrate:
        command += ['--migrate', options.migrate]
    if options.require_migration and binary == 'xe_exec_system_allocator':
        wanted = options.expected.get(subtest, 'none').partition(':')[0]
        command.append('--require-migration=' + wanted)
    command += ['--', f'{FOLDER}/{binary}', '--run-subtest', subtest]
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    try:
        text = process.communicate(timeout=options.limit)[0].decode(errors='replace')
        told = RESULT.findall(text)
        result = NAMES[told[-1]] if told else {77: 'skip'}.get(process.returncode, 'crash')
        if process.returncode >= 128 or process.returncode < 0:
            result = 'crash'
        elif process.returncode and result == 'pass':
            result = 'fail'
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text = process.communicate()[0].decode(errors='replace')
        result = 'timeout'
    return {'binary': binary, 'subtest': subtest, 'profile': options.profile,
            'result': result, 'seconds': round(time.monotonic() - start, 2),
            'why': '' if result == 'pass' else why(text)}


def pick(options):
    if options.list:
        with open(options.list, encoding='utf-8') as file:
            picked = [tuple(line.split()) for line in file if line.strip()[:1] not in ('', '#')]
    elif options.rerun:
        with open(options.rerun, encoding='utf-8') as file:
            lines = [json.loads(line) for line in file]
        picked = [(line['binary'], line['subtest']) for line in lines
                  if line.get('result', 'pass') != 'pass']
    else:
        picked = [(binary, subtest) for binary in options.binaries or BINARIES
                  for subtest in list_subtests(options.root, binary)]
    picked = [p for p in picked if re.search(options.match, p[1])]
    return picked[options.first::options.every]


# What fails and why: the first pattern that the subtest's name matches.
CAUSES = (
    (r'^(compute|eu-fault-.*)$', 'runs a shader: there are no execution units'),
    (r'^long-shader', 'runs a shader: there are no execution units'),
    (r'huge', 'its threads or children set the number of huge pages of the system against each'
     ' other; a child that finds none aborts, for IGT lets none skip'),
    (r'pci-membarrier', 'reads back what it wrote to the barrier page: a card drops that'),
    (r'^prefetch-fault', 'runs a shader, on a card of generation 35: there are no execution units'),
    (r'^small-bar$', 'of this card the CPU sees all memory'),
    (r'wq-stress', 'sets the processors of a kernel workqueue'),
)


def cause_of(line):
    if line['result'] == 'skip' and 'multi-queue' in line['subtest']:
        return 'for the profile cri'
    for pattern, cause in CAUSES:
        if re.search(pattern, line['subtest']):
            return cause
    if line['result'] == 'skip':
        return 'asks for what the card does not have'
    return 'not looked into'


def describe_expected():
    """What igt_expect.py says of xe_exec_system_allocator, as sections of the document."""
    reasons = collections.defaultdict(list)
    for subtest, expect in igt_expect.table().items():
        reasons[expect].append(subtest)
    text = ['', '## What has to migrate', '',
            'Of the subtests of xe_exec_system_allocator, by `scripts/igt_expect.py` and with',
            '`usvm run --require-migration`, in each process that runs a job:', '',
            '| has to show | subtests |', '|---|---|']
    for expect, subtests in sorted(reasons.items(), key=lambda item: -len(item[1])):
        text.append(f'| {expect} | {len(subtests)} |')
    text += ['', '## What does nothing by its own construction', '']
    for expect, subtests in reasons.items():
        if not expect.startswith('none: vacuous'):
            continue
        text.append(f'- {expect.partition("vacuous: ")[2]} ({len(subtests)}):')
        sections = collections.Counter(
            max((s for s in igt_expect.SECTIONS if subtest.endswith('-' + s)), key=len)
            for subtest in subtests)
        words = ', '.join(f'{section} ({count})' for section, count in sections.items())
        text += textwrap.wrap(words + '.', 96, initial_indent='  ', subsequent_indent='  ',
                              break_on_hyphens=False)
    text += ['', 'scripts/igt-expect.txt has them by name.']
    return text


def describe_runs(runs):
    return [f'- {run["date"]}: {run["subtests"]} subtests of the profile {run["profile"]}, IGT'
            f' {run["igt"]}, usvm {run["usvm"]}, Linux {run["kernel"]},'
            f' {run["jobs"]} at a time{run["modes"]}: {run.get("wall_seconds", 0):.0f} s.'
            for run in runs] + ([''] if runs else [])


def output_of(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or 'unknown'


def describe_run(options, count):
    here = os.path.dirname(os.path.abspath(__file__))
    modes = ''.join(f', {name}' for name, on in (
        ('--require-migration', options.require_migration), ('--poison', options.poison),
        (f'--placement={options.placement}', options.placement),
        (f'--migrate={options.migrate}', options.migrate),
        (f'user {options.user}', options.user)) if on)
    return {'date': time.strftime('%Y-%m-%d'), 'profile': options.profile, 'subtests': count,
            'igt': output_of('chroot', options.root, 'dpkg-query', '-W', '-f', '${Version}',
                             'igt-gpu-tools-tests'),
            'usvm': output_of('git', '-C', here, 'describe', '--always', '--dirty'),
            'kernel': os.uname().release, 'jobs': options.jobs, 'modes': modes}


def write_document(path, files):
    last, repeated, runs = {}, 0, []
    again = collections.defaultdict(list)
    for name in files:
        with open(name, encoding='utf-8') as file:
            for line in map(json.loads, file):
                if 'run' in line:
                    runs.append(line['run'])
                elif 'wall_seconds' in line:
                    runs[-1]['wall_seconds'] = line['wall_seconds']
                if 'subtest' not in line:
                    continue
                key = (line['profile'], line['binary'], line['subtest'])
                if 'again' in line:
                    again[key].append(line['result'])
                    continue
                repeated += key in last
                last[key] = line
                again.pop(key, None)
    rows = collections.defaultdict(collections.Counter)
    misses = collections.defaultdict(list)
    best = collections.defaultdict(set)
    for (profile, binary, subtest), line in last.items():
        rows[profile, binary][line['result']] += 1
        best[binary, subtest].add(line['result'])
        if line['result'] != 'pass':
            alone = again.get((profile, binary, subtest))
            result = line['result']
            if alone:
                result += f'; by itself {alone.count("pass")} of {len(alone)}'
            misses[cause_of(line)].append((profile, binary, subtest, result))
    passed = sum('pass' in results for results in best.values())
    text = ['# IGT on the virtual card', '',
            'Intel\'s GPU tests, `igt-gpu-tools-tests` of Debian sid, unmodified, one process',
            'for each subtest, as root. Made by `make igt profile=NAME`.',
            ''] + describe_runs(runs) + [
            f'Over the profiles {passed} of {len(best)} subtests pass. {repeated} results are of a'
            ' repeated run.', '',
            '| profile | binary | pass | fail | skip | timeout | crash |',
            '|---|---|---|---|---|---|---|']
    for (profile, binary), counts in sorted(rows.items()):
        cells = ' | '.join(str(counts[name]) for name in
                           ('pass', 'fail', 'skip', 'timeout', 'crash'))
        text.append(f'| {profile} | {binary} | {cells} |')
    text += ['', '## What does not pass', '']
    for cause, lines in sorted(misses.items(), key=lambda item: -len(item[1])):
        text.append(f'- {cause} ({len(lines)}):')
        for profile, binary, subtest, result in sorted(lines)[:12]:
            text.append(f'  {binary} {subtest} ({profile}, {result});')
        more = f'; and {len(lines) - 12} more.' if len(lines) > 12 else '.'
        text[-1] = text[-1][:-1] + more
    text += describe_expected()
    by_hand = ''
    if os.path.exists(path):
        with open(path, encoding='utf-8') as file:
            by_hand = file.read().partition(BY_HAND)[2]
    with open(path, 'w', encoding='utf-8') as file:
        file.write('\n'.join(text) + '\n')
        if by_hand:
            file.write('\n' + BY_HAND + by_hand)


def tell_times(files):
    seconds, walls = [], []
    for name in files:
        with open(name, encoding='utf-8') as file:
            lines = [json.loads(line) for line in file]
        seconds.append({(line['profile'], line['binary'], line['subtest']): line['seconds']
                        for line in lines if 'subtest' in line})
        walls.append(sum(line.get('wall_seconds', 0) for line in lines))
    both = set.intersection(*(set(s) for s in seconds))
    for name, times, wall in zip(files, seconds, walls):
        print(f'{name}: {wall:.0f} s; {sum(times[key] for key in both):.0f} s summed up in'
              f' {len(both)} subtests; x{wall / walls[-1]:.2f} of the last')


HUGE_PAGES = '/proc/sys/vm/nr_hugepages'


@contextlib.contextmanager
def huge_pages_kept():
    """Subtests change how many there are, and one that crashes leaves it so."""
    with open(HUGE_PAGES, encoding='utf-8') as file:
        before = file.read()
    try:
        yield
    finally:
        with open(HUGE_PAGES, 'r+', encoding='utf-8') as file:
            if file.read() != before:
                file.seek(0)
                file.write(before)


class Results:
    """What became of each subtest: on the terminal, counted, and in a file if one is wanted."""

    def __init__(self, options, picked):
        self.total = len(picked)
        self.counts = collections.Counter()
        self.misses = []
        self.start = time.monotonic()
        self.output = open(options.results, 'a', encoding='utf-8') if options.results else None
        self.write({'run': describe_run(options, len(picked))})

    def write(self, line):
        if self.output:
            self.output.write(json.dumps(line) + '\n')
            self.output.flush()

    def seconds(self):
        return time.monotonic() - self.start

    def note(self, outcome):
        self.counts[outcome['result']] += 1
        if outcome['result'] not in ('pass', 'skip'):
            self.misses.append((outcome['binary'], outcome['subtest']))
        if not sum(self.counts.values()) % 100:
            print(f'{sum(self.counts.values())} of {self.total} in {self.seconds():.0f} s',
                  flush=True)
        if outcome['result'] != 'pass':
            print(f'{outcome["result"]:7} {outcome["binary"]} {outcome["subtest"]}'
                  f' {outcome["seconds"]} s: {outcome["why"]}', flush=True)
        self.write(outcome)

    def note_again(self, outcomes):
        for number, outcome in enumerate(outcomes):
            self.write({**outcome, 'again': number + 1})
        passed = sum(outcome['result'] == 'pass' for outcome in outcomes)
        print(f'{outcomes[0]["binary"]} {outcomes[0]["subtest"]}: by itself {passed} of'
              f' {len(outcomes)}', flush=True)


def run_all(options):
    options.expected = igt_expect.read_kept()
    picked = pick(options)
    beside = [p for p in picked if not ALONE.search(p[1])]
    alone = [p for p in picked if ALONE.search(p[1])]
    results = Results(options, picked)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(lambda p: run_one(options, *p), beside):
            results.note(outcome)
    for p in alone:
        results.note(run_one(options, *p))
    results.write({'wall_seconds': round(results.seconds(), 1)})
    print(', '.join(f'{results.counts[name]} {name}' for name in
                    ('pass', 'fail', 'skip', 'timeout', 'crash')),
          f'in {results.seconds():.0f} s', flush=True)
    for p in results.misses if options.again else ():
        results.note_again([run_one(options, *p) for _ in range(options.again)])
    return 1 if results.misses else 0


def main():
    parser = argparse.ArgumentParser(description='run IGT on the virtual card')
    parser.add_argument('--root')
    parser.add_argument('--write', default='')
    parser.add_argument('--profile', default='bmg')
    parser.add_argument('--vram', default='')
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--limit', type=float, default=60)
    parser.add_argument('--match', default='')
    parser.add_argument('--every', type=int, default=1)
    parser.add_argument('--first', type=int, default=0)
    parser.add_argument('--results', default='')
    parser.add_argument('--rerun', default='')
    parser.add_argument('--list', default='')
    parser.add_argument('--require-migration', action='store_true')
    parser.add_argument('--placement', default='')
    parser.add_argument('--migrate', default='')
    parser.add_argument('--user', default='')
    parser.add_argument('--again', type=int, default=3)
    parser.add_argument('--time', action='store_true')
    parser.add_argument('--poison', action='store_true')
    parser.add_argument('binaries', nargs='*')
    options = parser.parse_args()

    if options.write:
        write_document(options.write, options.binaries)
        return
    if options.time:
        tell_times(options.binaries)
        return
    with huge_pages_kept():
        sys.exit(run_all(options))


if __name__ == '__main__':
    main()
