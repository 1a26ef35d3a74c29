#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each rule of tidy.py reports exactly the lines of its sample's `expected`.

samples/<rule>/ is a tree that breaks the rule; samples/clean/ breaks none. A
rule without a sample, or a sample that no rule has, fails.
"""

import importlib.util
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def load_tidy():
    path = os.path.join(HERE, '..', '..', 'scripts', 'tidy.py')
    spec = importlib.util.spec_from_file_location('tidy', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main():
    sys.dont_write_bytecode = True
    tidy = load_tidy()
    samples = os.path.join(HERE, 'samples')
    rules = {rule.__name__ for rule in tidy.RULES}
    names = set(os.listdir(samples))
    failed = [f'rule {name} has no sample' for name in sorted(rules - names)]
    failed += [f'sample {name}: no such rule' for name in sorted(names - rules - {'clean'})]

    for name in sorted(names):
        tree = tidy.Tree(os.path.join(samples, name))
        with open(os.path.join(samples, name, 'expected'), encoding='utf-8') as file:
            expected = file.read().splitlines()
        found = sorted(f'{path}:{line}: {rule.__name__}'
                       for rule in tidy.RULES for path, line, _ in rule(tree))
        for line in expected:
            if line in found:
                found.remove(line)
            else:
                failed.append(f'sample {name}: not reported: {line}')
        failed += [f'sample {name}: reported, not expected: {line}' for line in found]

    for line in failed:
        print(line)
    print(f'{len(names)} samples, {len(failed)} problems')
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
