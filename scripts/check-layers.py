#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Check that the layers use only what they may.

    check-layers.py --root DIR --graph base: sys:base mm:base,sys ...
                    [--archives mm=PATH sys=PATH ...]

The graph comes from meson.build, where it is written once. Checked are

  - the #include lines of src/<layer>/: the layer itself, the layers that it
    names, <usvm/...> and the system; never another layer's *_internal.h, never
    a folder that is no layer;
  - those of tools/, examples/ and bench/: <usvm/...>, the system, files beside
    them, and the kernel's numbers, which are no layer's;
  - those of chaos/, the agent that has the library inside: what AGENTS says;
  - with --archives the symbols: one that a layer leaves undefined and another
    layer defines must be of a layer that it names.
"""

import argparse
import os
import re
import subprocess
import sys

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]')
OUTSIDE = ('tools', 'examples', 'bench')
AGENTS = {'chaos': ('base', 'sys', 'api', 'usvm')}  # libraries that have all of ours inside
# What headers of the system lack, and names that programs and libraries share: no layer's code.
KERNEL_NUMBERS = ('sys/linux_abi.h', 'xe/slot.h', 'examples/xe_client.h')


def parse_graph(words):
    graph = {}
    for word in words:
        layer, _, uses = word.partition(':')
        graph[layer] = [used for used in uses.split(',') if used]
    return graph


def c_files(folder):
    for path, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            if name.endswith(('.c', '.h', '.inc', '.S')):
                yield os.path.join(path, name)


def includes(path):
    with open(path, encoding='utf-8', errors='replace') as file:
        for number, line in enumerate(file, 1):
            found = INCLUDE.match(line)
            if found:
                yield number, found.group(1) == '<', found.group(2)


def check_layer_include(root, graph, layer, is_system, name):
    """What is wrong with an #include in a layer, or None."""
    folder, slash, rest = name.partition('/')
    if folder == 'usvm':
        return None
    if is_system:
        if os.path.exists(os.path.join(root, 'src', name)):
            return f'<{name}> is a file of ours: write "{name}"'
        return None
    if not slash or '..' in name:
        return f'"{name}": write the path from src/, as "{layer}/{os.path.basename(name)}"'
    if folder not in graph:
        return f'"{name}": {folder} is no layer'
    if folder == layer:
        return None
    uses = graph[layer]
    if folder not in uses:
        return f'{layer} may not use {folder} (uses: {", ".join(uses) or "nothing"})'
    if rest.endswith('_internal.h'):
        return f'"{name}" is internal to {folder}'
    return None


def check_outside_include(root, path, folder, is_system, name):
    """What is wrong with an #include in a program that uses libusvm, or None."""
    if is_system:
        if not name.startswith('usvm/') and os.path.exists(os.path.join(root, 'src', name)):
            return f'{folder}/ may include <usvm/...> only, not <{name}>'
        return None
    beside = os.path.join(os.path.dirname(path), name)
    if name.startswith('usvm/'):
        return f'"{name}": write <{name}>'
    if name in KERNEL_NUMBERS:
        return None
    own = os.path.join(root, folder, name)
    if '..' in name or not (os.path.exists(beside) or os.path.exists(own)):
        return f'{folder}/ may include <usvm/...> only, not "{name}"'
    return None


def check_agent_include(path, folder, is_system, name):
    """What is wrong with an #include in a folder of AGENTS, or None."""
    beside = os.path.normpath(os.path.join(os.path.dirname(path), name))
    if is_system or os.path.exists(beside) or name.partition('/')[0] in AGENTS[folder]:
        return None
    return f'{folder}/ may use {", ".join(AGENTS[folder])} and files beside it, not "{name}"'


def check_includes(root, graph):
    problems = []
    source = os.path.join(root, 'src')
    for folder in sorted(os.listdir(source)):
        if not os.path.isdir(os.path.join(source, folder)):
            continue
        if folder not in graph:
            problems.append(f'src/{folder}:1: a folder that meson.build does not name')
            continue
        for path in c_files(os.path.join(source, folder)):
            for number, is_system, name in includes(path):
                problem = check_layer_include(root, graph, folder, is_system, name)
                if problem:
                    problems.append(f'{os.path.relpath(path, root)}:{number}: {problem}')
    for folder in OUTSIDE:
        for path in c_files(os.path.join(root, folder)):
            for number, is_system, name in includes(path):
                problem = check_outside_include(root, path, folder, is_system, name)
                if problem:
                    problems.append(f'{os.path.relpath(path, root)}:{number}: {problem}')
    for folder in AGENTS:
        for path in c_files(os.path.join(root, folder)):
            for number, is_system, name in includes(path):
                problem = check_agent_include(path, folder, is_system, name)
                if problem:
                    problems.append(f'{os.path.relpath(path, root)}:{number}: {problem}')
    return problems


def symbols(archive):
    """(defined, undefined) global symbols; undefined as (object, symbol)."""
    text = subprocess.run(['nm', '-A', '-P', '-g', archive], check=True,
                          capture_output=True, text=True).stdout
    defined, undefined = set(), set()
    for line in text.splitlines():
        where, name, kind = line.split()[:3]
        member = where.rstrip(':').rpartition('[')[2].rstrip(']')
        if kind in 'Uwv':
            undefined.add((member, name))
        else:
            defined.add(name)
    return defined, undefined


def check_symbols(graph, archives):
    problems = []
    owner, wanted = {}, {}
    for layer, archive in archives.items():
        defined, wanted[layer] = symbols(archive)
        owner.update(dict.fromkeys(defined, layer))
    for layer, undefined in wanted.items():
        for member, name in sorted(undefined):
            used = owner.get(name, layer)
            if used != layer and used not in graph[layer]:
                problems.append(f'src/{layer}: {member} uses {name}() of {used}'
                                f' ({layer} uses: {", ".join(graph[layer]) or "nothing"})')
    return problems


def main():
    parser = argparse.ArgumentParser(description='check that layers use what they may')
    parser.add_argument('--root', required=True)
    parser.add_argument('--graph', nargs='+', required=True)
    parser.add_argument('--archives', nargs='*', default=[])
    options = parser.parse_args()

    graph = parse_graph(options.graph)
    problems = check_includes(options.root, graph)
    problems += check_symbols(graph, dict(word.split('=', 1) for word in options.archives))
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == '__main__':
    main()
