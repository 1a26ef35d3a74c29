#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Run Intel's GPU tests (Debian's igt-gpu-tools-tests) on the virtual card.
#
#     scripts/igt.sh BUILD [ARGUMENT of igt.py...]
#
# The tests live in a Debian of their own, in the folder USVM_IGT_ROOT (default
# /var/cache/usvm-igt/root), which is made once with debootstrap: they need newer libraries
# than most systems have. Nothing of them is in the build or the sources. Needs root; mounts
# are made in a namespace of this run's and go with it.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
shift
root=${USVM_IGT_ROOT:-/var/cache/usvm-igt/root}
mirror=${USVM_IGT_MIRROR:-http://deb.debian.org/debian}

if [ ! -x "$root/usr/libexec/igt-gpu-tools/xe_query" ]; then
	if ! command -v debootstrap >/dev/null; then
		echo "igt: debootstrap is not installed" >&2
		exit 77
	fi
	rm -rf "$root.new"
	mkdir -p "$root.new"
	debootstrap --variant=minbase --include=igt-gpu-tools-tests sid "$root.new" "$mirror"
	mv "$root.new" "$root"
fi

export here build root
exec unshare --mount --ipc --propagation private sh -eu -c '
	mkdir -p "$root/usvm"
	mount --bind "$build" "$root/usvm"
	mount -t proc proc "$root/proc"
	mount --rbind /sys "$root/sys"
	mount --rbind /dev "$root/dev"
	exec python3 "$here/igt.py" --root "$root" "$@"
' igt "$@"
