#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fuzz: build the targets for an engine, run them, keep what they find.

    fuzz.py [--engine libfuzzer|afl|both] [--seconds N] [TARGET...]
    fuzz.py --merge [TARGET...]                   found inputs into tests/fuzz/corpus
    fuzz.py --short TARGET --program PROGRAM      for `make check`: 3 seconds

Everything is in build-fuzz/ (libFuzzer, with ASan, UBSan and lock check) and
build-fuzz-afl/ (AFL++, without: it starts again from the kept corpus).

    build-fuzz/corpus/TARGET/    inputs that reach something new
    build-fuzz/crashes/TARGET/   inputs that fail, of either engine

Exit: 0; 1 when an input failed.
"""

import argparse
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
TARGETS = ('streamer', 'api', 'events')

BUILDS = {
    'libfuzzer': ('build-fuzz', 'clang', ['-Dfuzz=libfuzzer', '-Dtests=disabled',
                                          '-Dlock_check=true',
                                          '-Db_sanitize=address,undefined']),
    'afl': ('build-fuzz-afl', 'afl-clang-fast', ['-Dfuzz=afl', '-Dtests=disabled',
                                                 '-Dlock_check=true']),
}

SHORT_SECONDS = 3
PROGRESS_SECONDS = 15
INPUT_SECONDS_MAX = 30  # one input; a hang
LENGTH_MAX = {'streamer': 1024, 'api': 1 + 32 * 24, 'events': 4 + 8 * 3 + 24 * 12}

# LeakSanitizer stops the world by ptrace, which a debugger or a container may forbid, and
# looks at malloc's memory only; the targets count what the library has themselves.
SANITIZERS = {'ASAN_OPTIONS': 'detect_leaks=0:abort_on_error=1',
              'UBSAN_OPTIONS': 'print_stacktrace=1'}

PROGRESS = re.compile(r'#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+) corp: (\d+)/\S+ .*exec/s: (\d+)')


def path(*parts):
    return os.path.join(ROOT, *parts)


def folder(*parts):
    os.makedirs(path(*parts), exist_ok=True)
    return path(*parts)


def build(engine):
    where, compiler, options = BUILDS[engine]
    if not shutil.which(compiler):
        package = {'afl': 'afl++'}.get(engine, compiler)
        sys.exit(f'fuzz: {compiler} is not here: apt-get install {package}')
    if not os.path.exists(path(where, 'build.ninja')):
        subprocess.run(['meson', 'setup', path(where), ROOT] + options, check=True,
                       env={**os.environ, 'CC': compiler, 'AFL_QUIET': '1'},
                       stdout=subprocess.DEVNULL)
    subprocess.run(['ninja', '-C', path(where), 'fuzz-programs'], check=True,
                   env={**os.environ, 'AFL_QUIET': '1'}, stdout=subprocess.DEVNULL)
    return lambda target: path(where, 'tests', 'fuzz', 'fuzz-' + target)


def dictionary(target, option):
    file = path('tests', 'fuzz', target + '.dict')
    return [option + file] if os.path.exists(file) else []


def crashes(target):
    return set(glob.glob(path('build-fuzz', 'crashes', target, '*')))


def tell_crash(target, file):
    name = os.path.relpath(file, ROOT)
    print(f'\nFAILED: {target}: {name}')
    print(f'  again:    build-fuzz/tests/fuzz/fuzz-{target} {name}')
    print(f'  smaller:  build-fuzz/tests/fuzz/fuzz-{target} -minimize_crash=1 '
          f'-max_total_time=60 -exact_artifact_path=smaller {name}')
    print(f'  keep:     a fix, a unit test, and the smaller one in tests/fuzz/corpus/{target}/'
          '; without an engine:')
    print(f'            meson test -C build fuzz/{target}_corpus', flush=True)


# --- libFuzzer -----------------------------------------------------------------

def libfuzzer_command(program, target, seconds, new, found):
    return [program, f'-max_total_time={seconds}', f'-timeout={INPUT_SECONDS_MAX}',
            f'-max_len={LENGTH_MAX[target]}', '-len_control=0', '-print_final_stats=1',
            f'-artifact_prefix={found}/'] + dictionary(target, '-dict=') + \
           [new, path('tests', 'fuzz', 'corpus', target)]


def run_libfuzzer(program, target, seconds):
    new = folder('build-fuzz', 'corpus', target)
    found = folder('build-fuzz', 'crashes', target)
    log_path = path('build-fuzz', f'{target}.log')
    next_line = start = time.monotonic()
    print(f'{target}, libFuzzer, {seconds} s; its output: build-fuzz/{target}.log', flush=True)
    with open(log_path, 'w', encoding='utf-8', errors='replace') as log, subprocess.Popen(
            libfuzzer_command(program, target, seconds, new, found),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace',
            env={**os.environ, **SANITIZERS}) as process:
        for line in process.stdout:
            log.write(line)
            progress = PROGRESS.match(line)
            if progress and (time.monotonic() >= next_line or progress.group(2) == 'DONE'):
                runs, _, edges, features, inputs, rate = progress.groups()
                print(f'  {time.monotonic() - start:5.0f} s {runs:>9} runs {edges:>6} edges'
                      f' {features:>6} features {inputs:>5} inputs {rate:>6} runs/s',
                      flush=True)
                next_line = time.monotonic() + PROGRESS_SECONDS
        status = process.wait()
    return status


# --- AFL++ ---------------------------------------------------------------------

def afl_progress(state):
    stats = {}
    try:
        with open(os.path.join(state, 'default', 'fuzzer_stats'), encoding='utf-8') as file:
            for line in file:
                name, _, value = line.partition(':')
                stats[name.strip()] = value.strip()
    except OSError:
        return
    print(f'  {stats.get("run_time", "?"):>5} s {stats.get("execs_done", "?"):>9} runs'
          f' {stats.get("edges_found", "?"):>6} edges {stats.get("corpus_count", "?"):>5} inputs'
          f' {stats.get("execs_per_sec", "?"):>9} runs/s', flush=True)


def keep(files, to):
    """Copy inputs into a folder, named by what is in them."""
    for file in files:
        with open(file, 'rb') as source:
            data = source.read()
        with open(os.path.join(to, hashlib.sha1(data).hexdigest()), 'wb') as copy:
            copy.write(data)


def run_afl(program, target, seconds):
    state = path('build-fuzz-afl', 'afl', target)
    shutil.rmtree(state, ignore_errors=True)
    os.makedirs(state)
    environment = {**os.environ, 'AFL_NO_UI': '1', 'AFL_NO_AFFINITY': '1',
                   'AFL_SKIP_CPUFREQ': '1', 'AFL_SKIP_CRASHES': '1',
                   'AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES': '1'}
    command = ['afl-fuzz', '-i', path('tests', 'fuzz', 'corpus', target), '-o', state,
               '-V', str(seconds), '-t', str(1000 * INPUT_SECONDS_MAX // 10), '-m', 'none',
               '-G', str(LENGTH_MAX[target])]
    command += [part for file in dictionary(target, '') for part in ('-x', file)]
    log_path = path('build-fuzz-afl', f'{target}.log')
    print(f'{target}, AFL++, {seconds} s; its output: build-fuzz-afl/{target}.log', flush=True)
    with open(log_path, 'w', encoding='utf-8') as log, subprocess.Popen(
            command + ['--', program], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=environment) as process:
        while True:
            try:
                status = process.wait(PROGRESS_SECONDS)
                break
            except subprocess.TimeoutExpired:
                afl_progress(state)
    afl_progress(state)
    default = os.path.join(state, 'default')
    keep(glob.glob(os.path.join(default, 'queue', 'id:*')), folder('build-fuzz', 'corpus', target))
    bad = glob.glob(os.path.join(default, 'crashes', 'id:*'))
    bad += glob.glob(os.path.join(default, 'hangs', 'id:*'))
    keep(bad, folder('build-fuzz', 'crashes', target))
    if status:
        print(f'  afl-fuzz: exit {status}, see build-fuzz-afl/{target}.log')
    return status


# --- what is asked for ----------------------------------------------------------

def fuzz(engines, targets, seconds):
    failed = False
    for engine in engines:
        program = build(engine)
        run = {'libfuzzer': run_libfuzzer, 'afl': run_afl}[engine]
        for target in targets:
            before = crashes(target)
            failed |= run(program(target), target, seconds) != 0
            for file in sorted(crashes(target) - before):
                tell_crash(target, file)
                failed = True
    print('\nNew inputs are in build-fuzz/corpus/; what is worth keeping of them goes into the\n'
          'tree by scripts/fuzz.py --merge.')
    return 1 if failed else 0


def merge(targets):
    """The fewest inputs that reach every edge that any known input reaches."""
    program = build('libfuzzer')
    for target in targets:
        kept = path('tests', 'fuzz', 'corpus', target)
        with tempfile.TemporaryDirectory() as smaller:
            subprocess.run([program(target), '-merge=1', '-use_counters=0',
                            f'-max_len={LENGTH_MAX[target]}', smaller, kept,
                            folder('build-fuzz', 'corpus', target)],
                           check=True, env={**os.environ, **SANITIZERS},
                           stderr=subprocess.DEVNULL)
            wanted = set(os.listdir(smaller))
            have = {name for name in os.listdir(kept) if not is_named(name)}
            for name in have - wanted:
                os.unlink(os.path.join(kept, name))
            for name in wanted - have:
                shutil.copyfile(os.path.join(smaller, name), os.path.join(kept, name))
            print(f'{target}: {len(wanted)} inputs; before: {len(have)}')


def is_named(name):
    """An input with a name is there for a reason: what failed once."""
    return not re.fullmatch(r'[0-9a-f]{40}', name)


def short(target, program):
    """The corpus and a few seconds more, with nothing written to the tree."""
    with tempfile.TemporaryDirectory() as new:
        status = subprocess.run(
            libfuzzer_command(program, target, SHORT_SECONDS, new, new), check=False,
            env={**os.environ, **SANITIZERS}).returncode
        for file in glob.glob(os.path.join(new, '*-*')):
            kept = shutil.copy(file, folder('build-fuzz', 'crashes', target))
            tell_crash(target, kept)
            status = 1
    return 1 if status else 0


def main():
    parser = argparse.ArgumentParser(description='fuzz the targets of tests/fuzz')
    parser.add_argument('--engine', choices=['libfuzzer', 'afl', 'both'], default='libfuzzer')
    parser.add_argument('--seconds', type=int, default=600, help='for each target and engine')
    parser.add_argument('--merge', action='store_true')
    parser.add_argument('--short', action='store_true')
    parser.add_argument('--program', help='with --short')
    parser.add_argument('targets', nargs='*', metavar='TARGET')
    options = parser.parse_args()
    targets = options.targets or TARGETS
    for target in targets:
        if target not in TARGETS:
            parser.error(f'no target {target}; there are {", ".join(TARGETS)}')

    if options.short:
        sys.exit(short(targets[0], options.program))
    if options.merge:
        merge(targets)
        return
    engines = ['libfuzzer', 'afl'] if options.engine == 'both' else [options.engine]
    sys.exit(fuzz(engines, targets, options.seconds))


if __name__ == '__main__':
    main()
