#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/matrix.md is what the matrix prints.

    document_test.py PROGRAM docs/matrix.md            compare
    document_test.py --write PROGRAM docs/matrix.md    make it so
"""

import argparse
import difflib
import subprocess
import sys


def main():
    parser = argparse.ArgumentParser(description='compare docs/matrix.md')
    parser.add_argument('--write', action='store_true')
    parser.add_argument('program')
    parser.add_argument('page')
    options = parser.parse_args()

    made = subprocess.run([options.program, '--document'], check=True, capture_output=True,
                          text=True).stdout
    if options.write:
        with open(options.page, 'w', encoding='utf-8') as file:
            file.write(made)
        return
    with open(options.page, encoding='utf-8') as file:
        kept = file.read()
    if kept != made:
        sys.stdout.writelines(difflib.unified_diff(
            kept.splitlines(True), made.splitlines(True), options.page, 'the matrix'))
        sys.exit(1)


if __name__ == '__main__':
    main()
