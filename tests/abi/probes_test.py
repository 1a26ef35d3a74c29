#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The USDT probes of libusvm.so: one for each kind of trace event, by name.

    probes_test.py libusvm.so
"""

import re
import subprocess
import sys

EXPECTED = {
    'gpu_fault', 'cpu_fault', 'migrate_to_device', 'migrate_to_ram', 'evict',
    'invalidate', 'event', 'bind', 'collect', 'migrate_from_peer',
}

notes = subprocess.run(['readelf', '-n', sys.argv[1]], check=True, capture_output=True,
                       text=True).stdout
found = set(re.findall(r'Provider: usvm\s+Name: (\w+)', notes))
for name in sorted(EXPECTED - found):
    print(f'no probe usvm:{name}')
for name in sorted(found - EXPECTED):
    print(f'a probe that this list does not know: usvm:{name}')
sys.exit(found != EXPECTED)
