#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The checker is checked: plant a bug, and see whether the simulator finds it.

    plants.py [NAME...]     each plant from 10 bases, and the table of docs/testing.md
    plants.py --short       those that are found soon, once, from a seed that is known to
    plants.py --seeds       the list of those seeds, anew, for this file's end

The plants are in src/base/plant.h. One is found from a base B if one of the seeds
B, B+1, ... fails with it and not without it, before the simulator has made 180 million
steps: 60 seconds of one processor that does three million in a second. Steps are the same
on every machine, and whatever else it does. Bases are 1, 100001, 200001, ... Runs are of all
profiles by turns, or of the one that is named in PROFILES.
"""

import argparse
import concurrent.futures
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..')
BASES = 10
BASE_STEP = 100000
FOUND_MIN = 9
STEPS = 180_000_000
# What one kind of program shows alone, or hardly ever else.
PROFILES = {
    'REMOVE_TAKEN': 'race', 'BO_REVIVED': 'evict', 'BO_DEATH_UNSEEN': 'objects',
    'RESET_WHOLE': 'policy', 'HELD_ONE': 'policy', 'THRASH_UNCOUNTED': 'thrash',
    'GUEST_UNWAITED': 'peers',
}
# docs/testing.md says why.
SELDOM = {'REMOVE_TAKEN', 'HELD_ONE'}
SELDOM_MIN = 5
SHORT_STEPS = 30_000_000
# A run that never comes to a step does not end by their number.
SECONDS_MAX = 900


def limit(seconds):
    def set_limit():
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    return set_limit


FAILURE = re.compile(r'FAILED seed (\d+), profile (\w+),[^\n]*\n  after \d+ steps[^\n]*\n'
                     r'  ([^\n]*)')


def simulate(sim, arguments, seconds=SECONDS_MAX):
    # pylint: disable=subprocess-popen-preexec-fn
    with subprocess.Popen([sim] + arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          start_new_session=True, preexec_fn=limit(seconds),
                          text=True, errors='replace') as process:
        try:
            output, _ = process.communicate(timeout=seconds * 10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
    return output


class Run:
    """Runs of the simulator with a plant, until one fails that does not without."""

    def __init__(self, sim, plant, first, last, profile, steps):
        self.found, self.steps, self.how = False, 0, ''
        start = children_seconds()
        while not self.found and self.steps < steps and first <= last:
            output = simulate(sim, ['--plant', plant, '--profile', profile, '--seeds',
                                    f'{first}..{last}', '--budget', str(steps - self.steps)])
            failure = FAILURE.search(output)
            self.seconds = children_seconds() - start
            if not failure or 'CPU time limit' in failure[3]:
                break
            self.seed, self.profile = int(failure[1]), failure[2]
            self.how = self.reason(failure[3], output)
            self.steps += int(re.search(r'runs, (\d+) steps', output)[1])
            # Not the plant's doing, perhaps.
            self.found = not FAILURE.search(simulate(
                sim, ['--profile', self.profile, '--seeds', f'{self.seed}..{self.seed}']))
            first = self.seed + 1

    @staticmethod
    def reason(text, output):
        said = [line for line in output.split('\n')
                if 'assertion' in line or line.startswith('usvm:')]
        return said[0] if text.startswith('crashed') and said else text


def children_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(arguments):
    """In a process of its own, whose children's time is this run's."""
    return Run(*arguments)


def list_plants(sim):
    listed = subprocess.run([sim, '--plants'], check=True, capture_output=True, text=True)
    return [line.split('\t') for line in listed.stdout.splitlines()]


def how_short(how):
    how = re.sub(r'0x[0-9a-f]+|\d+', 'N', how).strip()
    return how if len(how) < 60 else how[:57] + '...'


def table(options, plants):
    print('| plant | broken | what | profile | found | steps | at most | seconds | '
          'how it shows |')
    print('|---|---|---|---|---|---|---|---|---|')
    missed = []
    with concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
        for name, law, text in plants:
            profile = options.profile or PROFILES.get(name, 'all')
            runs = list(pool.map(run, [
                (options.sim, name, base * BASE_STEP + 1, (base + 1) * BASE_STEP,
                 profile, options.steps) for base in range(options.bases)]))
            found = [run for run in runs if run.found]
            floor = SELDOM_MIN if name in SELDOM else FOUND_MIN
            if len(found) * BASES < floor * options.bases:
                missed.append(name)
            steps = worst = seconds = how = '-'
            if found:
                steps = f'{statistics.median(run.steps for run in found):,.0f}'
                worst = f'{max(run.steps for run in found):,}'
                seconds = f'{statistics.median(run.seconds for run in found):.1f}'
                hows = [how_short(run.how) for run in found]
                how = max(hows, key=hows.count)
            print(f'| {name} | {law} | {text} | {profile} | {len(found)} of {options.bases} | '
                  f'{steps} | {worst} | {seconds} | {how.replace("|", "/")} |', flush=True)
            if options.seeds and found:
                best = min(found, key=lambda run: run.seed % BASE_STEP)
                print(f"    '{name}': ('{best.profile}', {best.seed}),", file=sys.stderr,
                      flush=True)
    print(f'{len(plants) - len(missed)} of {len(plants)} found')
    if missed:
        print(f'missed: {", ".join(missed)}')
    return 1 if missed else 0


def short(options, plants):
    failed = 0
    start = time.monotonic()
    known = [plant[0] for plant in plants if plant[0] in KNOWN]
    with concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
        runs = pool.map(run, [(options.sim, name, KNOWN[name][1], KNOWN[name][1] + BASE_STEP,
                               KNOWN[name][0], SHORT_STEPS) for name in known])
        for name, result in zip(known, runs):
            if not result.found:
                print(f'{name}: not found from seed {KNOWN[name][1]} on, '
                      f'in {SHORT_STEPS} steps')
                failed += 1
    for name in sorted({plant[0] for plant in plants} ^ (set(KNOWN) | SLOW)):
        print(f'{name}: in one of src/base/plant.h and scripts/plants.py only')
        failed += 1
    print(f'{len(known)} plants, {failed} failed, {time.monotonic() - start:.1f} s')
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description='plant bugs, and see whether they are found')
    parser.add_argument('--sim', default=os.path.join(ROOT, 'build/tests/sim/usvm-sim'))
    parser.add_argument('--short', action='store_true')
    parser.add_argument('--seeds', action='store_true')
    parser.add_argument('--bases', type=int, default=BASES)
    parser.add_argument('--steps', type=int, default=STEPS)
    parser.add_argument('--profile', help='of all plants')
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()
    plants = [plant for plant in list_plants(options.sim)
              if not options.names or plant[0] in options.names]
    sys.exit(short(options, plants) if options.short else table(options, plants))


# Found soon: from any seed in a few seconds, from this one at once. A change of the
# library or of the simulator moves the seeds (--seeds), and costs a few seconds here.
KNOWN = {
    'MONITOR_TOUCHES': ('life', 2),
    'ACCESS_LOCKED': ('tight', 37),
    'STACKS_TAKEN': ('gpu', 1),
    'FILL_TWO_STEPS': ('tight', 3),
    'FILL_AHEAD': ('race', 25),
    'STOP_NO_WAIT': ('gpu', 3),
    'ENTER_BLIND': ('tight', 82),
    'LEAVE_EARLY': ('tight', 3),
    'READ_THEN_APPLY': ('events', 1),
    'TAKE_TWO_STEPS': ('tight', 1),
    'HOME_TWO_STEPS': ('tight', 3),
    'EVICT_DROPS': ('events', 1),
    'PUSH_NOTHING': ('fork', 16),
    'GATE_OPEN': ('fork', 21),
    'LIE_BELIEVED': ('fork', 42),
    'HOME_LIE_BELIEVED': ('tight', 24),
    'REMOVE_KEEPS': ('tight', 4),
    'REVOKE_TAKE': ('tight', 4),
    'REVOKE_FAULT': ('life', 6),
    'REVOKE_HOME': ('fork', 3),
    'REVOKE_UNMAP': ('events', 4),
    'WRITE_UNCHECKED': ('life', 3),
    'PEER_UNREVOKED': ('peers', 21),
    'PEER_KEEPS_SOURCE': ('peers', 21),
    'PEER_TWO_STEPS': ('peers', 21),
    'TLB_UNFLUSHED': ('fork', 4),
    'BIND_STALE': ('gpu', 69),
    'EVICT_EARLY': ('events', 14),
    'LAST_TWICE': ('events', 1),
    'SLEEP_BLIND': ('fork', 3),
    'WAKE_FIRST': ('default', 9),
    'QUEUE_LOST': ('tight', 5),
    'CALL_SHARED': ('default', 5),
    'ATTR_WIDE_RANGE': ('policy', 11),
    'TIMER_LEFT': ('thrash', 1),
    'BO_KEEPS_ENTRIES': ('objects', 3),
    'BO_COPY_FIRST': ('objects', 3),
    'BIND_TARGET_KEPT': ('objects', 36),
    'BIND_UNREVOKED': ('objects', 41),
}

# Not found in a few seconds from any seed: for the whole table only.
SLOW = {
    'MONITOR_WAITS', 'TAKE_STALE_VMA', 'STASH_FORGETS', 'RESUME_EARLY', 'STOP_SKIPS',
    'SYSTEM_INSIDE', 'PUSH_NO_EDITS', 'FRAME_DIRTY', 'FRAME_USED', 'BUSY_FOREVER',
    'HOME_NO_COPY', 'REMOVE_TAKEN', 'WAKE_GONE', 'WAKE_TAKEN', 'REMAP_DROPS',
    'NOTIFY_LATE', 'DEAD_REVIVED', 'BO_REVIVED', 'ATTR_UNREVOKED', 'RESET_NOTHING',
    'RESET_WHOLE', 'HELD_UNTIMED', 'HELD_ONE', 'THRASH_UNCOUNTED', 'BO_DEATH_UNSEEN',
    'GUEST_UNWAITED',
}

if __name__ == '__main__':
    main()
