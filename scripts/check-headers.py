#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every header compiles alone, under gcc and clang; the public ones as C++ too.

    check-headers.py --root DIR

A header that leans on what its user included before it fails here.
"""

import argparse
import concurrent.futures
import os
import shutil
import subprocess
import sys

WARNINGS = ['-Wall', '-Wextra', '-Wpedantic', '-Wshadow', '-Wno-unused-function',
            '-Wno-unused-macros', '-Werror']
C = ['-x', 'c', '-std=gnu17', '-Wstrict-prototypes', '-Wmissing-prototypes']
CPLUSPLUS = ['-x', 'c++', '-std=c++17']


def headers(root, folder):
    for path, _, names in sorted(os.walk(os.path.join(root, folder))):
        for name in sorted(names):
            if name.endswith('.h'):
                yield os.path.relpath(os.path.join(path, name), root)


def compile_alone(root, compiler, language, header):
    command = [compiler, *language, *WARNINGS, '-D_GNU_SOURCE', '-fsyntax-only',
               '-iquote', os.path.join(root, 'src'), '-I', os.path.join(root, 'include'),
               '-iquote', root, '-']
    done = subprocess.run(command, input=f'#include "{header}"\nint headers_are_whole;\n',
                          text=True, capture_output=True, check=False)
    if done.returncode == 0:
        return ''
    return f'{header}: not alone under {compiler} {" ".join(language[:2])}:\n{done.stderr}'


def main():
    parser = argparse.ArgumentParser(description='compile every header alone')
    parser.add_argument('--root', required=True)
    options = parser.parse_args()

    compilers = [name for name in ('gcc', 'clang') if shutil.which(name)]
    public = list(headers(options.root, 'include'))
    work = [(compiler, C, header) for compiler in compilers
            for header in public + list(headers(options.root, 'src'))]
    # gcc needs g++'s cc1plus, which nothing else here does.
    if 'clang' in compilers:
        work += [('clang', CPLUSPLUS, header) for header in public]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = list(filter(None, pool.map(
            lambda job: compile_alone(options.root, *job), work)))
    for problem in problems:
        print(problem)
    print(f'{len(work)} compilations by {", ".join(compilers)}, {len(problems)} failed')
    sys.exit(1 if problems else 0)


if __name__ == '__main__':
    main()
