#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A forbidden include and a forbidden call are caught.

Builds a tree of four layers in a temporary directory, as meson.build does:

    top [base mid]     mid [base]     side [base]     base []

and breaks it in one way after the other. Calls are really compiled and linked.
"""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CHECK = os.path.join(HERE, '..', '..', 'scripts', 'check-layers.py')
CC = os.environ.get('CC', 'cc').split()

GRAPH = {'base': [], 'mid': ['base'], 'side': ['base'], 'top': ['base', 'mid']}
GOOD = {
    'src/base/base.h': 'int base_id(void);\n',
    'src/base/base.c': '#include "base/base.h"\nint base_id(void) { return 1; }\n',
    'src/mid/mid.h': 'int mid_id(void);\n',
    'src/mid/mid_internal.h': 'int mid_secret(void);\n',
    'src/mid/mid.c': '#include <stddef.h>\n#include <usvm/device.h>\n'
                     '#include "base/base.h"\n#include "mid/mid.h"\n'
                     '#include "mid/mid_internal.h"\n'
                     'int mid_id(void) { return base_id() + 1; }\n',
    'src/side/side.h': 'int side_id(void);\n',
    'src/side/side.c': '#include "side/side.h"\nint side_id(void) { return 3; }\n',
    'src/top/top.c': '#include "mid/mid.h"\nint top_id(void);\n'
                     'int top_id(void) { return mid_id(); }\n',
    'include/usvm/device.h': '',
    'tools/tool.c': '#include <stdio.h>\n#include <usvm/device.h>\n#include "tool.h"\n'
                    '#include "sys/linux_abi.h"\n',
    'tools/tool.h': '',
}
failures = []


def claim(name, is_true, evidence=''):
    print(f'[{"       OK" if is_true else "  FAILED "} ] {name}')
    if not is_true:
        failures.append(name)
        print(evidence)


def write_tree(root, changes):
    for path, text in {**GOOD, **changes}.items():
        path = os.path.join(root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)


def check(root, archives=()):
    command = [sys.executable, CHECK, '--root', root, '--graph']
    command += [f'{layer}:{",".join(uses)}' for layer, uses in GRAPH.items()]
    if archives:
        command += ['--archives'] + [f'{layer}={path}' for layer, path in archives.items()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def build_archives(root):
    archives = {}
    for layer in GRAPH:
        source = os.path.join(root, 'src', layer, layer + '.c')
        archives[layer] = os.path.join(root, f'lib{layer}.a')
        subprocess.run([*CC, '-iquote', os.path.join(root, 'src'),
                        '-I', os.path.join(root, 'include'), '-c', source,
                        '-o', source + '.o'], check=True)
        subprocess.run(['ar', 'cr', archives[layer], source + '.o'], check=True)
    return archives


def link(root, archives, layer, libraries):
    """As the link test of meson.build: the whole layer, and what it may use."""
    command = [*CC, os.path.join(HERE, 'link.c'), '-o', os.path.join(root, 'link-test'),
               '-Wl,--whole-archive', archives[layer], '-Wl,--no-whole-archive',
               '-Wl,--start-group', *[archives[used] for used in libraries],
               '-Wl,--end-group']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_includes():
    cases = [
        ('an_upward_include_is_caught', 'src/base/base.c', '"mid/mid.h"',
         'src/base/base.c:1: base may not use mid (uses: nothing)'),
        ('a_sideways_include_is_caught', 'src/mid/mid.c', '"side/side.h"',
         'src/mid/mid.c:1: mid may not use side (uses: base)'),
        ('another_layers_internals_are_caught', 'src/top/top.c', '"mid/mid_internal.h"',
         'src/top/top.c:1: "mid/mid_internal.h" is internal to mid'),
        ('an_unknown_folder_is_caught', 'src/mid/mid.c', '"other/other.h"',
         'src/mid/mid.c:1: "other/other.h": other is no layer'),
        ('a_path_that_climbs_is_caught', 'src/mid/mid.c', '"mid/../side/side.h"',
         'src/mid/mid.c:1: "mid/../side/side.h": write the path'),
        ('a_path_without_a_layer_is_caught', 'src/mid/mid.c', '"mid.h"',
         'src/mid/mid.c:1: "mid.h": write the path from src/, as "mid/mid.h"'),
        ('a_layer_in_angle_brackets_is_caught', 'src/mid/mid.c', '<side/side.h>',
         'src/mid/mid.c:1: <side/side.h> is a file of ours'),
        ('a_tool_that_includes_a_layer_is_caught', 'tools/tool.c', '"mid/mid.h"',
         'tools/tool.c:1: tools/ may include <usvm/...> only'),
        ('a_tool_that_climbs_is_caught', 'tools/tool.c', '"../src/mid/mid.h"',
         'tools/tool.c:1: tools/ may include <usvm/...> only'),
        ('an_example_that_includes_a_layer_is_caught', 'examples/hello.c', '<mid/mid.h>',
         'examples/hello.c:1: examples/ may include <usvm/...> only'),
        ('a_folder_without_a_layer_is_caught', 'src/stray/stray.c', '<stddef.h>',
         'src/stray:1: a folder that meson.build does not name'),
    ]
    with tempfile.TemporaryDirectory() as root:
        write_tree(root, {})
        status, text = check(root)
        claim('a_good_tree_passes', status == 0 and text == '', text)
    for name, path, include, wanted in cases:
        with tempfile.TemporaryDirectory() as root:
            write_tree(root, {path: f'#include {include}\n'})
            status, text = check(root)
            claim(name, status == 1 and text.startswith(wanted), text)


def test_calls():
    with tempfile.TemporaryDirectory() as root:
        write_tree(root, {})
        archives = build_archives(root)
        status, text = check(root, archives)
        claim('good_symbols_pass', status == 0, text)
        for layer, uses in GRAPH.items():
            status, text = link(root, archives, layer, uses)
            claim(f'a_good_layer_links_{layer}', status == 0, text)

    for name, layer, called in [('an_upward_call', 'mid', 'top_id'),
                                ('a_sideways_call', 'mid', 'side_id'),
                                ('a_call_out_of_the_lowest_layer', 'base', 'mid_id')]:
        # No header: a declaration by hand, in a function that nothing calls.
        source = f'src/{layer}/{layer}.c'
        call = f'int {called}(void);\nint sneak(void) {{ return {called}(); }}\n'
        with tempfile.TemporaryDirectory() as root:
            write_tree(root, {source: GOOD[source] + call})
            archives = build_archives(root)
            status, text = link(root, archives, layer, GRAPH[layer])
            claim(f'{name}_does_not_link',
                  status != 0 and f"undefined reference to `{called}'" in text, text)
            status, text = check(root, archives)
            claim(f'{name}_is_seen_in_the_symbols',
                  status == 1 and f'src/{layer}: {layer}.c.o uses {called}()' in text, text)

    # top names mid, and mid is linked with base: that does not make base's
    # neighbour usable. The linker cannot tell, the symbols can.
    with tempfile.TemporaryDirectory() as root:
        GRAPH['mid'].append('side')
        write_tree(root, {'src/top/top.c': 'int side_id(void);\n'
                                           'int top_id(void) { return side_id(); }\n'})
        archives = build_archives(root)
        status, text = link(root, archives, 'top', ['base', 'mid', 'side'])
        claim('a_call_past_a_layer_links', status == 0, text)
        status, text = check(root, archives)
        claim('a_call_past_a_layer_is_seen_in_the_symbols',
              status == 1 and 'uses side_id() of side (top uses: base, mid)' in text, text)
        GRAPH['mid'].remove('side')


def main():
    test_includes()
    test_calls()
    print(f'{len(failures)} failed')
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    main()
