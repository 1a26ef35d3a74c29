#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Install into an empty directory; build and run a program with pkg-config alone.

    install_test.py --build DIR --program main.c [--tool NAME]
"""

import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

CC = os.environ.get('CC', 'cc').split()


def run(command, **options):
    print('+', ' '.join(command), flush=True)
    return subprocess.run(command, check=True, text=True, **options)


def pkg_config(root, *arguments):
    """pkg-config that sees the installed usvm.pc, and the system below `root`."""
    pc = glob.glob(os.path.join(root, '**', 'usvm.pc'), recursive=True)
    if len(pc) != 1:
        sys.exit(f'not one usvm.pc below {root}: {pc}')
    environment = {**os.environ, 'PKG_CONFIG_PATH': os.path.dirname(pc[0]),
                   'PKG_CONFIG_SYSROOT_DIR': root}
    return run(['pkg-config', *arguments, 'usvm'], stdout=subprocess.PIPE,
               env=environment).stdout.split()


def check_is_found(build):
    """In a usual prefix, the library must lie where pkg-config looks by itself."""
    told = json.loads(run(['meson', 'introspect', build, '--buildoptions'],
                          stdout=subprocess.PIPE).stdout)
    option = {entry['name']: entry['value'] for entry in told}
    folder = os.path.join(option['prefix'], option['libdir'], 'pkgconfig')
    looked = run(['pkg-config', '--variable', 'pc_path', 'pkg-config'],
                 stdout=subprocess.PIPE).stdout.strip().split(':')
    if option['prefix'] in ('/usr', '/usr/local') and folder not in looked:
        sys.exit(f'usvm.pc goes to {folder}; pkg-config looks in {looked}')


def main():
    parser = argparse.ArgumentParser(description='test the installed library')
    parser.add_argument('--build', required=True)
    parser.add_argument('--program', required=True)
    parser.add_argument('--tool', default='')
    options = parser.parse_args()

    check_is_found(options.build)
    with tempfile.TemporaryDirectory() as work:
        root = os.path.join(work, 'root')
        run(['meson', 'install', '-C', options.build, '--no-rebuild', '--quiet',
             '--destdir', root])

        # Outside of the tree: no header or library of the build can be found.
        source = os.path.join(work, 'main.c')
        shutil.copy(options.program, source)
        version = pkg_config(root, '--modversion')[0]
        program = os.path.join(work, 'main')
        run([*CC, '-Wall', '-Wextra', '-Werror', f'-DEXPECTED_VERSION="{version}"',
             *pkg_config(root, '--cflags'), source, '-o', program,
             *pkg_config(root, '--libs')], cwd=work)

        library = glob.glob(os.path.join(root, '**', 'libusvm.so.0'), recursive=True)
        if len(library) != 1:
            sys.exit(f'not one libusvm.so.0 below {root}: {library}')
        environment = {**os.environ, 'LD_LIBRARY_PATH': os.path.dirname(library[0])}
        run([program], cwd=work, env=environment)
        if options.tool:
            tool = glob.glob(os.path.join(root, '**', 'bin', options.tool), recursive=True)
            run([tool[0], '--version'], cwd=work, env=environment)

        leaked = glob.glob(os.path.join(root, '**', 'meson.build'), recursive=True)
        if leaked:
            sys.exit(f'installed by mistake: {leaked}')


if __name__ == '__main__':
    main()
