#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Do the docs speak of what is there?

    check-docs.py --root DIR

In README.md and docs/: a relative link leads to a file; a path of the tree in backticks
exists; a function() and a CONSTANT_NAME in backticks is a word of the sources, and in
concurrency.md each word, as those are names of tests.
"""

import argparse
import os
import re
import sys

LINK = re.compile(r'\]\(([^)#:]+)(?:#[^)]*)?\)')
CODE = re.compile(r'`([^`\n]+)`')
PATH = re.compile(r'(?:src|include|tests|tools|scripts|examples|bench|docs)/[\w./-]+')
FUNCTION = re.compile(r'([a-z]\w+)\(\)')
CONSTANT = re.compile(r'\b(?:LOCK|MM|VM|USVM|SYS)_[A-Z][A-Z0-9_]+\b')
FENCED = re.compile(r'^```.*?^```', re.M | re.S)


def sources(root):
    text = []
    for top in ('src', 'include', 'tests', 'tools', 'examples', 'bench'):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in names:
                if name.endswith(('.c', '.h', '.S')):
                    with open(os.path.join(folder, name), encoding='utf-8') as file:
                        text.append(file.read())
    return set(re.findall(r'\w+', '\n'.join(text)))


def pages(root):
    yield 'README.md'
    for folder, _, names in sorted(os.walk(os.path.join(root, 'docs'))):
        for name in sorted(names):
            if name.endswith('.md'):
                yield os.path.relpath(os.path.join(folder, name), root)


def check_page(root, page, known):
    with open(os.path.join(root, page), encoding='utf-8') as file:
        whole = file.read()
    text = FENCED.sub(lambda found: '\n' * found.group(0).count('\n'), whole)
    for number, line in enumerate(text.splitlines(), 1):
        for link in LINK.findall(line):
            if not os.path.exists(os.path.join(root, os.path.dirname(page), link)):
                yield number, f'a link to {link}, which is not there'
        for code in CODE.findall(line):
            path = PATH.fullmatch(code)
            if path and 'NAME' not in code and not os.path.exists(os.path.join(root, code)):
                yield number, f'{code} is not there'
            names = FUNCTION.findall(code) + CONSTANT.findall(code)
            if page.endswith('concurrency.md') and re.fullmatch(r'\w+', code):
                names.append(code)
            for name in names:
                if name not in known:
                    yield number, f'{name} is not in the tree'


def main():
    parser = argparse.ArgumentParser(description='check what the docs name')
    parser.add_argument('--root', required=True)
    options = parser.parse_args()
    known = sources(options.root)
    count = 0
    for page in pages(options.root):
        for number, what in check_page(options.root, page, known):
            print(f'{page}:{number}: {what}')
            count += 1
    sys.exit(1 if count else 0)


if __name__ == '__main__':
    main()
