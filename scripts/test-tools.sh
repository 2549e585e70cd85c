#!/usr/bin/env bash
# Installs the programs that the tests run on a mount. Quick and silent when all are installed.
set -euo pipefail

# program=Debian package
tools=(
    vim=vim nano=nano rsync=rsync git=git sqlite3=sqlite3 make=make gcc=gcc ar=binutils zip=zip unzip=unzip
    perl=perl patch=patch flock=util-linux prlimit=util-linux inotifywait=inotify-tools gio=libglib2.0-bin
)
missing=()
for tool in "${tools[@]}"; do
    command -v "${tool%%=*}" >/dev/null 2>&1 || missing+=("${tool#*=}")
done
[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
[ "${#missing[@]}" -gt 0 ] || exit 0

install="apt-get install -y --no-install-recommends ${missing[*]}"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "install the packages that provide ${missing[*]} (Debian names), which the tests need, then run this again" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "programs that the tests need are missing; as root, run:  $install" >&2
    exit 1
fi
echo "installing programs for the tests: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# First try without updating the package index: a machine that has an index need not wait for a new one.
$install -qq >/dev/null 2>&1 || { apt-get update -qq && $install -qq >/dev/null; }
