#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Install what a build or a check needs, by the names of Debian's packages.
#
#     scripts/deps.sh build          for `make demo`, `make install`
#     scripts/deps.sh build check    for `make check`
#     scripts/deps.sh build check chaos  for `make chaos`
#     scripts/deps.sh build check fuzz   for `make fuzz`
#     scripts/deps.sh build igt      for `make igt`
#     scripts/deps.sh build check coverage   for `make coverage`
#
# Where all is there it does nothing: no network, no apt. Where it may not
# install (no root, no apt, no network) it names the command and exits 1.
set -eu

# Per line: the group, the package, and how to see that it is there where it
# did not come as a package of Debian.
needs() {
	cat <<-'END'
	build gcc                command gcc
	build libc6-dev          header stdio.h
	build libjansson-dev     module jansson
	build meson              command meson
	build ninja-build        command ninja
	build pkg-config         command pkg-config
	build python3            command python3
	build systemtap-sdt-dev  header sys/sdt.h
	check binutils           command nm
	check clang              command clang
	check gdb                command gdb
	check libclang-rt-dev    clang sanitizer/asan_interface.h
	check libcmocka-dev      module cmocka
	check util-linux         command setarch
	check valgrind           command valgrind
	chaos coreutils          command sort
	chaos perl-base          command perl
	chaos redis-server       command redis-server
	chaos redis-tools        command redis-benchmark
	chaos sqlite3            command sqlite3
	chaos xz-utils           command xz
	coverage gcovr           command gcovr
	fuzz afl++               command afl-fuzz
	igt debootstrap          command debootstrap
	END
}

is_there() { # package kind what
	if command -v dpkg-query >/dev/null &&
	   dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q ' installed$'; then
		return 0
	fi
	case $2 in
	command) command -v "$3" >/dev/null ;;
	clang) echo "#include <$3>" | clang -E -x c - >/dev/null 2>&1 ;;
	header) command -v cc >/dev/null && echo "#include <$3>" |
		cc -E -x c - >/dev/null 2>&1 ;;
	module) command -v pkg-config >/dev/null && pkg-config --exists "$3" ;;
	esac
}

missing_of() { # groups
	needs | while read -r group package kind what; do
		case " $* " in *" $group "*) ;; *) continue ;; esac
		is_there "$package" "$kind" "$what" || echo "$package"
	done
}

give_up() {
	echo "deps: $1. What is missing, by its names in Debian:" >&2
	echo "    sudo apt-get install $missing" >&2
	exit 1
}

missing=$(missing_of "$@" | tr '\n' ' ')
missing=${missing% }
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	give_up 'no apt-get here'
fi
[ "$(id -u)" = 0 ] || give_up 'not root'

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT

apt_get() { # what apt-get says is shown only where it fails
	apt-get -q -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 && return
	cat "$log" >&2
	return 1
}

if ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1; then
	echo 'deps: apt-get update'
	apt_get update || give_up 'apt-get update failed (no network?)'
fi
echo "deps: apt-get install $missing"
install_missing() {
	# shellcheck disable=SC2086 # a list of words
	apt_get install -y --no-install-recommends $missing
}

# Lists that are older than what the mirror has name files that are gone.
if ! install_missing; then
	echo 'deps: apt-get update, and once more'
	apt_get update || give_up 'apt-get update failed (no network?)'
	install_missing || give_up 'apt-get install failed'
fi
