#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Print what `make bench json=FOLDER` wrote, as a table in Markdown.

    bench-table.py [--verdict] FOLDER [FOLDER...]

--verdict: one line for each target, of its figures and of how often it was
met. Else one line a row of a benchmark; with several folders, what each run measured,
in their order, and whether the targets were met in all of them.
"""

import json
import os
import sys

ORDER = ('cpu_fault', 'gpu_fault', 'saxpy', 'pingpong', 'accessors', 'oversubscribe',
         'growth', 'program', 'memory', 'queues', 'shim')


def load(folder):
    """(benchmark, question, place) -> row"""
    rows = {}
    for name in ORDER:
        path = os.path.join(folder, name + '.json')
        if os.path.exists(path):
            with open(path, encoding='utf-8') as file:
                for row in json.load(file)['rows']:
                    rows[name, row['question'], row['place']] = row
    return rows


def figure(value):
    return f'{value:.3g}' if value < 100 else f'{value:.0f}'


def sides(rows, number):
    """Medians of one side, run by run."""
    return ' / '.join(figure(row['sides'][number]['median']) for row in rows)


def targets(rows):
    """The targets of a row with what was measured, and "met", "missed" or "met 1 of 2"."""
    texts, met = [], 0
    for number, target in enumerate(rows[0]['targets']):
        figures = ' / '.join(figure(row['targets'][number]['figure']) for row in rows)
        texts.append(f'{"or " if target["alternative"] else ""}{target["what"]}: {figures}')
    if not texts:
        return '', 'reported'
    met = sum(all(target['met'] for target in row['targets']) for row in rows)
    verdict = 'met' if met == len(rows) else f'met in {met} of {len(rows)}' if met else 'missed'
    return '; '.join(texts), verdict


def print_verdict(runs):
    counts = [0, 0]
    for key in runs[0]:
        rows = [run[key] for run in runs if key in run]
        if not rows[0]['targets']:
            continue
        text, verdict = targets(rows)
        counts[verdict == 'met'] += 1
        print(f'{verdict:<14} {key[0]}: {key[1]} ({key[2]}): {text}')
    print(f'{counts[1]} met in each of {len(runs)} runs, {counts[0]} not')


def main():
    words = sys.argv[1:]
    is_verdict = words[:1] == ['--verdict']
    runs = [load(folder) for folder in words[is_verdict:]]
    if not runs:
        sys.exit(__doc__)
    if is_verdict:
        print_verdict(runs)
        return
    print('| what | place | usvm | rivals | target: figure | |')
    print('|---|---|--:|---|---|---|')
    for key in runs[0]:
        rows = [run[key] for run in runs if key in run]
        rivals = '; '.join(f'{side["name"]} {sides(rows, number)}'
                           for number, side in enumerate(rows[0]['sides']) if number)
        text, verdict = targets(rows)
        print(f'| {key[1]} | {key[2]} | {sides(rows, 0)} {rows[0]["unit"]} | {rivals} | '
              f'{text} | {verdict} |')


if __name__ == '__main__':
    main()
