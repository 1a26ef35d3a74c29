#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draw what `make bench json=FOLDER` wrote.

    bench-plot.py --out docs FOLDER [FOLDER...]

Writes bench-saxpy.svg, bench-oversubscribe.svg and bench-growth.svg. With
several folders, which are runs, the middle one of their medians is drawn,
with a line from the least to the greatest.
"""

import argparse
import json
import math
import os
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 360, 72, 76, 44
COLOURS = ('#2563a8', '#b8b8b8', '#d97b29', '#4d9a52')


class Runs:
    """The same benchmark of each run."""

    def __init__(self, folders, name):
        self.runs = []
        for folder in folders:
            path = os.path.join(folder, name + '.json')
            if os.path.exists(path):
                with open(path, encoding='utf-8') as file:
                    self.runs.append(json.load(file))

    def rows(self):
        return self.runs[0]['rows']

    def medians(self, question, place, side):
        """Sorted, of those runs that have it."""
        found = []
        for run in self.runs:
            for row in run['rows']:
                if row['question'] == question and row['place'] == place:
                    found += [s['median'] for s in row['sides'] if s['name'] == side]
        return sorted(found)

    def machine(self):
        m = self.runs[0]['machine']
        return f'{m["cpu"]}, {m["cores"]} processors, Linux {m["kernel"]}, {m["commit"]}'


class Drawing:
    def __init__(self, title, unit, greatest, note):
        self.greatest = greatest
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
        self.text(LEFT, 22, title, size=15)
        self.text(LEFT, HEIGHT - 8, note, size=9, colour='#666')
        step = 10 ** math.floor(math.log10(greatest / 2))
        step *= next(n for n in (1, 2, 5, 10) if greatest / (n * step) <= 6)
        value = 0
        while value <= greatest:
            y = self.y(value)
            self.line(LEFT, y, WIDTH - 20, y, '#e4e4e4')
            self.text(LEFT - 6, y + 4, f'{value:g}', anchor='end')
            value += step
        self.text(LEFT - 6, TOP - 8, unit, anchor='end')

    def y(self, value):
        return HEIGHT - BOTTOM - value / self.greatest * (HEIGHT - BOTTOM - TOP)

    def text(self, x, y, text, size=12, anchor='start', colour='black'):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" '
                          f'text-anchor="{anchor}">{escape(text)}</text>')

    def line(self, x1, y1, x2, y2, colour, width=1):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                          f'stroke="{colour}" stroke-width="{width}"/>')

    def spread(self, x, values):
        if len(values) > 1:
            self.line(x, self.y(values[0]), x, self.y(values[-1]), '#222')

    def bar(self, x, width, values, colour):
        y = self.y(middle(values))
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
                          f'height="{HEIGHT - BOTTOM - y:.1f}" fill="{colour}"/>')
        self.spread(x + width / 2, values)
        self.text(x + width / 2, y - 4, f'{middle(values):.3g}', size=10, anchor='middle')

    def dot(self, x, values, colour):
        self.spread(x, values)
        self.parts.append(f'<circle cx="{x:.1f}" cy="{self.y(middle(values)):.1f}" r="3.5" '
                          f'fill="{colour}"/>')

    def legend(self, names):
        x = WIDTH - 20
        for number, name in reversed(list(enumerate(names))):
            x -= 7 * len(name) + 24
            self.parts.append(f'<rect x="{x:.1f}" y="27" width="10" height="10" '
                              f'fill="{COLOURS[number]}"/>')
            self.text(x + 14, 36, name, size=11)

    def save(self, path):
        with open(path, 'w', encoding='utf-8') as file:
            file.write('\n'.join(self.parts + ['</svg>', '']))


def middle(values):
    return values[(len(values) - 1) // 2]


def bars(runs, title, unit, scale, groups, names, path):
    """groups: (label, question, place, the sides in the order of names)"""
    values = [[[v * scale for v in runs.medians(question, place, side)] for side in sides]
              for _, question, place, sides in groups]
    d = Drawing(title, unit, 1.12 * max(v[-1] for group in values for v in group),
                runs.machine())
    d.legend(names)
    pitch = (WIDTH - LEFT - 20) / len(groups)
    width = min(48, pitch / (len(names) + 1.5))
    for number, group in enumerate(values):
        x = LEFT + (number + 0.5) * pitch - len(group) * width / 2
        for i, side in enumerate(group):
            d.bar(x + i * width, width - 4, side, COLOURS[i])
        for i, line in enumerate(groups[number][0].split('\n')):
            d.text(LEFT + (number + 0.5) * pitch, HEIGHT - BOTTOM + 16 + 14 * i, line, size=11,
                   anchor='middle')
    d.save(path)


def plot_saxpy(runs, path):
    groups = []
    for row in runs.rows():
        what = 'first pass, GPU' if 'first pass' in row['question'] else "CPU's pass after it"
        groups.append((f'{what}\n{row["place"]}', row['question'], row['place'],
                       [side['name'] for side in row['sides']]))
    bars(runs, 'A pass over 256 MiB: y = a x + y', 'ms', 1e-3, groups,
         ('usvm', 'plain pass of the CPU'), path)


def plot_oversubscribe(runs, path):
    groups = [(', '.join(row['question'].split(': ')[0].split(', ')[1:]), row['question'],
               row['place'], [side['name'] for side in row['sides']]) for row in runs.rows()]
    bars(runs, '1 GiB through 128 MiB of device memory, for each block of 2 MiB', 'us', 1,
         groups, ('usvm', 'two copies, or two moves and 30 us'), path)


def plot_growth(runs, path):
    rows = [row for row in runs.rows() if row['question'].endswith('ranges')]
    names = [row['question'].split(', with')[0] for row in rows]
    points = [[(int(side['name'].replace(',', '')),
                runs.medians(row['question'], row['place'], side['name']))
               for side in row['sides']] for row in rows]
    d = Drawing('A fault, an invalidation, a munmap(), with ever more ranges', 'us',
                1.12 * max(v[-1] for line in points for _, v in line), runs.machine())
    d.legend(names)
    numbers = sorted({number for line in points for number, _ in line})
    low, high = math.log10(numbers[0]), math.log10(numbers[-1])

    def x_of(number):
        return LEFT + 30 + (math.log10(number) - low) / (high - low) * (WIDTH - LEFT - 90)

    for number in numbers:
        d.text(x_of(number), HEIGHT - BOTTOM + 18, f'{number:,}', anchor='middle')
    d.text((LEFT + WIDTH) / 2, HEIGHT - BOTTOM + 38, 'ranges in one mapping', anchor='middle')
    for i, line in enumerate(points):
        line.sort()
        for (n1, v1), (n2, v2) in zip(line, line[1:]):
            d.line(x_of(n1), d.y(middle(v1)), x_of(n2), d.y(middle(v2)), COLOURS[i], 2)
        for number, values in line:
            d.dot(x_of(number), values, COLOURS[i])
    d.save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default='docs')
    parser.add_argument('folders', nargs='+')
    args = parser.parse_args()
    for name, plot in (('saxpy', plot_saxpy), ('oversubscribe', plot_oversubscribe),
                       ('growth', plot_growth)):
        runs = Runs(args.folders, name)
        if not runs.runs:
            print(f'bench-plot: no {name}.json')
            continue
        path = os.path.join(args.out, f'bench-{name}.svg')
        plot(runs, path)
        print(path)


if __name__ == '__main__':
    main()
