#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Run Intel's GPU tests (Debian's igt-gpu-tools-tests) on the virtual card.
#
#     scripts/igt.sh [--installed] BUILD [ARGUMENT of igt.py...]
#
# The tests live in a Debian of their own, in the folder USVM_IGT_ROOT (default
# /var/cache/usvm-igt/root), which is made once with debootstrap: they need newer libraries
# than most systems have. Nothing of them is in the build or the sources. Needs root; mounts
# are made in a namespace of this run's and go with it. With --installed nothing is fetched: where
# they are not there, or may not be run, it skips (status 77).
set -eu

skip()
{
	echo "SKIP: $*"
	exit 77
}

fetch=yes
if [ "$1" = --installed ]; then
	fetch=no
	shift
fi
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
shift
root=${USVM_IGT_ROOT:-/var/cache/usvm-igt/root}
mirror=${USVM_IGT_MIRROR:-http://deb.debian.org/debian}

if [ "$fetch" = no ]; then
	[ "$(id -u)" = 0 ] || skip "IGT needs root"
	[ -x "$root/usr/libexec/igt-gpu-tools/xe_query" ] ||
		skip "IGT is not in $root: make igt fetches it"
	unshare --mount --ipc true 2>/dev/null || skip "IGT needs namespaces of mounts"
fi
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
	echo 1048576 >/proc/sys/kernel/msgmnb || true # of this namespace: several cards send much
	exec python3 "$here/igt.py" --root "$root" "$@"
' igt "$@"
