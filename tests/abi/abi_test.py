#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What libusvm.so shows and asks for.

    abi_test.py --library libusvm.so --list symbols.list

- It shows the functions of symbols.list, all named usvm_*, and nothing else.
- It never calls malloc or stdio: the program's heap may be on the device, and
  the thread that would bring it home may be the one that calls.
- It has no planted bug: those of src/base/plant.h are the simulator's.
- Its TLS is initial-exec, its relocations are done at load, it stays loaded.

--update writes the list anew; look at the difference.
"""

import argparse
import subprocess
import sys

FORBIDDEN = {
    'malloc', 'calloc', 'realloc', 'free', 'aligned_alloc', 'posix_memalign', 'memalign',
    'strdup', 'strndup', 'printf', 'fprintf', 'vprintf', 'vfprintf', 'dprintf', 'puts',
    'fputs', 'putchar', 'fputc', 'fwrite', 'fopen', 'fclose', 'perror', 'asprintf',
    '__printf_chk', '__fprintf_chk', '__vfprintf_chk', '__tls_get_addr', 'dlopen', 'exit',
}
failures = []


def claim(name, problem):
    print(f'[{"  FAILED " if problem else "       OK"} ] {name}')
    if problem:
        failures.append(name)
        print(problem)


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def dynamic_symbols(library, which):
    """Names without their version; the version's own node is no symbol."""
    names = set()
    for line in output('nm', '-D', '-P', which, library).splitlines():
        name, kind = line.split()[:2]
        if kind not in 'wvA':
            names.add(name.partition('@')[0])
    return names


def read_list(path):
    with open(path, encoding='utf-8') as file:
        return {line.strip() for line in file if line.strip() and not line.startswith('#')}


def write_list(path, names):
    with open(path, 'w', encoding='utf-8') as file:
        file.write('# SPDX-License-Identifier: MIT\n'
                   '# The functions of libusvm.so.0. A name that is here stays.\n')
        file.writelines(f'{name}\n' for name in sorted(names))


def main():
    parser = argparse.ArgumentParser(description='check what the library shows')
    parser.add_argument('--library', required=True)
    parser.add_argument('--list', required=True)
    parser.add_argument('--update', action='store_true')
    parser.add_argument('--instrumented', action='store_true', help='by a sanitizer')
    options = parser.parse_args()

    shown = dynamic_symbols(options.library, '--defined-only')
    if options.update:
        write_list(options.list, shown)
    kept = read_list(options.list)
    asked = dynamic_symbols(options.library, '--undefined-only')
    dynamic = output('readelf', '-dW', options.library)

    strangers = sorted(name for name in shown if not name.startswith('usvm_'))
    claim('every_symbol_is_named_usvm', ', '.join(strangers))
    claim('no_symbol_of_the_list_is_gone', ', '.join(sorted(kept - shown)))
    claim('no_symbol_is_missing_from_the_list', ', '.join(sorted(shown - kept)))
    planted = {line.split()[0] for line in output('nm', '-P', options.library).splitlines()}
    claim('no_bug_is_planted', ', '.join(sorted(planted & {'plant', 'plant_gap',
                                                           'plant_yield'})))
    claim('the_soname_is_libusvm_so_0', '' if '[libusvm.so.0]' in dynamic else dynamic)
    claim('it_is_bound_at_load', '' if 'NOW' in dynamic else dynamic)
    claim('it_stays_loaded', '' if 'NODELETE' in dynamic else dynamic)
    if not options.instrumented:
        claim('it_calls_no_malloc_and_no_stdio', ', '.join(sorted(asked & FORBIDDEN)))
    print(f'{len(shown)} symbols, {len(failures)} failed')
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    main()
