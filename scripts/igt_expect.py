#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Which pages each subtest of IGT's xe_exec_system_allocator has to move, and which none.

    igt_expect.py            print the table, as it is kept in scripts/igt-expect.txt
    igt_expect.py --check    compare the two

A subtest is a section (what memory, what is done to it) in a shape (how many jobs, threads,
processes). The flags of a section tell what its GPU touches; the tables below say them in
the words of IGT 2.5. A line is the subtest, a tab, and "device,home", "device" or
"none: REASON".
Where memory cannot migrate nothing is asked; nor where the subtest does nothing by its own
construction: those lines begin with "none: vacuous".
"""

import os
import sys

KEPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'igt-expect.txt')

# name of a section -> what it does
SECTIONS = {
    'malloc': '',
    'malloc-madvise': 'swizzle',
    'malloc-prefetch': 'prefetch',
    'malloc-prefetch-madvise': 'prefetch swizzle',
    'malloc-multi-fault': 'multi',
    'malloc-fork-read': 'fork',
    'malloc-fork-read-after': 'fork',
    'malloc-mlock': 'lock',
    'malloc-race': 'race',
    'malloc-prefetch-race': 'race prefetch',
    'malloc-busy': '',
    'malloc-bo-unmap': '',
    'mmap': '',
    'mmap-prefetch': 'prefetch',
    'mmap-remap': 'remap',
    'mmap-remap-madvise': 'remap swizzle',
    'mmap-remap-dontunmap': 'remap',
    'mmap-remap-ro': 'remap',
    'mmap-remap-ro-dontunmap': 'remap',
    'mmap-remap-eocheck': 'remap other',
    'mmap-remap-dontunmap-eocheck': 'remap other',
    'mmap-remap-ro-eocheck': 'remap other',
    'mmap-remap-ro-dontunmap-eocheck': 'remap other',
    'mmap-huge': 'huge',
    'mmap-shared': 'lock shared',
    'mmap-prefetch-shared': 'lock shared prefetch',
    'mmap-shared-remap': 'lock shared remap',
    'mmap-shared-remap-dontunmap': 'lock shared remap',
    'mmap-shared-remap-eocheck': 'lock shared remap other',
    'mmap-shared-remap-dontunmap-eocheck': 'lock shared remap other',
    'mmap-mlock': 'lock',
    'mmap-file': 'file',
    'mmap-file-mlock': 'lock file',
    'mmap-race': 'race',
    'free': 'new',
    'free-madvise': 'new swizzle',
    'free-race': 'new race',
    'new': 'new',
    'new-madvise': 'new swizzle',
    'new-prefetch': 'new prefetch',
    'new-race': 'new race',
    'new-bo-map': 'new',
    'new-busy': 'new',
    'mmap-free': 'new',
    'mmap-free-madvise': 'new swizzle then-shared',
    'mmap-free-huge': 'new huge',
    'mmap-free-race': 'new race',
    'mmap-new': 'new',
    'mmap-new-madvise': 'new swizzle then-shared',
    'mmap-new-huge': 'new huge',
    'mmap-new-race': 'new race',
    'malloc-nomemset': '',
    'malloc-mlock-nomemset': 'lock',
    'malloc-race-nomemset': 'race',
    'malloc-busy-nomemset': '',
    'malloc-bo-unmap-nomemset': '',
    'mmap-nomemset': '',
    'mmap-huge-nomemset': 'huge',
    'mmap-shared-nomemset': 'shared',
    'mmap-mlock-nomemset': 'lock',
    'mmap-file-nomemset': 'file',
    'mmap-file-mlock-nomemset': 'lock file',
    'mmap-race-nomemset': 'race',
    'free-nomemset': 'new',
    'free-race-nomemset': 'new race',
    'new-nomemset': 'new',
    'new-race-nomemset': 'new race',
    'new-bo-map-nomemset': 'new',
    'new-busy-nomemset': 'new',
    'mmap-free-nomemset': 'new',
    'mmap-free-huge-nomemset': 'new huge',
    'mmap-free-race-nomemset': 'new race',
    'mmap-new-nomemset': 'new',
    'mmap-new-huge-nomemset': 'new huge',
    'mmap-new-race-nomemset': 'new race',
}

# name of a shape -> (jobs of each worker, the buffer has a size of its own, what workers are)
SHAPES = {
    'once': (1, False, ''),
    'once-large': (1, True, ''),
    'twice': (2, False, ''),
    'twice-large': (2, True, ''),
    'many': (128, False, ''),
    'many-stride': (128, False, ''),
    'many-execqueues': (128, False, ''),
    'many-large': (128, True, ''),
    'many-64k': (128, True, ''),
    'many-large-execqueues': (128, True, ''),
}
for prefix, workers in (('threads-', 'threads'), ('threads-shared-vm-', 'threads'),
                        ('process-', 'processes')):
    for shape in ('many', 'many-stride', 'many-execqueues', 'many-large',
                  'many-large-execqueues'):
        SHAPES[prefix + shape] = SHAPES[shape][:2] + (workers,)

BOTH = 'device,home'


def expect_of(flags, shape):
    """What one section in one shape has to show."""
    jobs, has_size, workers = shape
    if 'multi' in flags and not has_size:
        return 'none: vacuous: returns at once, as the buffer has no size of its own'
    if 'other' in flags and jobs % 2:
        return 'none: vacuous: returns at once, as the number of jobs is odd'
    if workers == 'threads' and ('file' in flags or 'fork' in flags):
        return 'none: vacuous: returns before a thread starts'
    if workers == 'processes' and 'fork' in flags:
        return 'none: vacuous: returns before a process starts'
    if 'huge' in flags:
        return 'none: memory of hugetlbfs does not migrate'
    if 'shared' in flags:
        return 'none: shared memory does not migrate'
    if 'file' in flags:
        return "none: a file's memory does not migrate"
    if 'lock' in flags:
        return 'none: locked memory does not migrate'
    if 'swizzle' in flags and 'prefetch' not in flags:
        if jobs == 1:
            return 'none: the only job is advised to find its memory in the system'
        if 'then-shared' in flags:
            return 'none: the first job is advised to the system, later ones use shared memory'
    return BOTH


def single_subtests():
    yield 'prefetch-benchmark', BOTH
    yield 'prefetch-sys-benchmark', BOTH
    for name in ('shared-vm-shared-alloc-many-stride-malloc',
                 'shared-vm-shared-alloc-many-stride-malloc-race',
                 'shared-alloc-many-stride-malloc', 'shared-alloc-many-stride-malloc-sync',
                 'shared-alloc-many-stride-malloc-race'):
        yield 'threads-' + name, BOTH
    yield 'fault', 'none: its one job is at an address where nothing is'
    for atomic in ('', 'atomic-'):
        for middle in ('', 'middle-'):
            for change in ('munmap', 'remap'):
                for fault in ('cpu-fault', 'no-cpu-fault'):
                    yield f'partial-{atomic}{middle}{change}-{fault}', BOTH
    yield 'unaligned-alloc', BOTH
    for name in ('', 'threads-', 'threads-same-page-', 'process-', 'process-same-page-'):
        yield f'fault-{name}benchmark', BOTH
    for name in ('evict-malloc', 'evict-malloc-mix-bo', 'processes-evict-malloc',
                 'processes-evict-malloc-mix-bo'):
        yield name, BOTH
    for name in ('atomic-inc', 'multi-vma', 'split-vma',
                 'atomic-vma', 'split-vma-with-mapping', 'range-invalidate-change-attr',
                 'no-range-invalidate-same-attr'):
        yield 'madvise-' + name, BOTH
    for name in ('sram-migrate-pages', 'atomic-device', 'atomic-gl', 'atomic-und'):
        yield ('madvise-preffered-loc-' + name,
               'none: the only job is advised to find its memory in the system')
    yield 'madvise-preffered-loc-atomic-cpu', 'none: its atomic is refused'
    for name in ('madvise-pat-idx-wb', 'madvise-pat-idx-wt', 'madvise-pat-idx-uc',
                 'madvise-pat-idx-uc-comp', 'madvise-max-pat-index'):
        for vmas in ('single-vma', 'multi-vma'):
            yield f'pat-index-{name}-{vmas}', BOTH
    yield 'compute', BOTH
    for size in ('4k', '64k', '2m'):
        yield f'eu-fault-{size}-once-device', 'device'
        yield f'eu-fault-{size}-once-device-host', BOTH
        yield f'eu-fault-{size}-range-device', 'device'
        yield f'eu-fault-{size}-range-device-host', BOTH
        yield f'eu-fault-{size}-range-device-host-madvise-dontneed', 'device'


def table():
    """Subtest -> what it has to show, in the order of the binary."""
    expected = {}
    for section, words in SECTIONS.items():
        for shape, numbers in SHAPES.items():
            expected[f'{shape}-{section}'] = expect_of(words.split(), numbers)
    expected.update(single_subtests())
    return expected


def read_kept():
    """The table as it is kept. Subtest -> what it has to show."""
    with open(KEPT, encoding='utf-8') as file:
        return dict(line.rstrip('\n').split('\t') for line in file if not line.startswith('#'))


def text():
    return ('# SPDX-License-Identifier: MIT\n'
            '# Made by scripts/igt_expect.py: what has to migrate in xe_exec_system_allocator.\n'
            + ''.join(f'{name}\t{expect}\n' for name, expect in table().items()))


def main():
    if sys.argv[1:] == ['--check']:
        with open(KEPT, encoding='utf-8') as file:
            if file.read() == text():
                return
        print(f'{KEPT} is not what igt_expect.py makes: run igt_expect.py > it')
        sys.exit(1)
    sys.stdout.write(text())


if __name__ == '__main__':
    main()
