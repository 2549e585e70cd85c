#!/usr/bin/env bash
# setup.sh [dev]: prepares the machine and the checkout: installs missing system packages, .venv and the locked
# dependencies; with `dev` also those of lint and tests. Quick and silent when there is nothing to do.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
have() { command -v "$1" >/dev/null 2>&1; }
have fusermount3 || missing+=(fuse3)
have gcc || missing+=(gcc)
have pkg-config || missing+=(pkg-config)
have pkg-config && pkg-config --exists fuse3 || missing+=(libfuse3-dev)
# First the version that the locks were resolved for, then the machine's own, then any that is new enough.
python=
for candidate in python3.11 python3 python3.12 python3.13 python3.14; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$(command -v "$candidate")
        break
    fi
done
if [ -z "$python" ]; then
    echo "remotefs needs Python 3.11 or newer: install it and run this again" >&2
    exit 1
fi
header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include") + "/Python.h")')
[ -e "$header" ] || missing+=(python3-dev)
"$python" -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)

if [ "${#missing[@]}" -gt 0 ]; then
    install="apt-get install -y --no-install-recommends ${missing[*]}"
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if have sudo && [ -t 0 ]; then as_root=(sudo); else
            echo "system packages are missing; as root, run:  $install" >&2
            exit 1
        fi
    fi
    if ! have apt-get; then
        echo "install the packages that provide ${missing[*]} (Debian names), then run this again" >&2
        exit 1
    fi
    echo "installing system packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # First try without updating the package index: a machine that has an index need not wait for a new one.
    # shellcheck disable=SC2086
    "${as_root[@]}" $install -qq >/dev/null 2>&1 ||
        { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" $install -qq >/dev/null; }
fi
if [ ! -e /dev/fuse ]; then
    echo "/dev/fuse is missing: load the fuse kernel module (modprobe fuse), or give the container the device" >&2
    exit 1
fi
if [ ! -r /dev/fuse ] || [ ! -w /dev/fuse ]; then
    echo "you have no permission to open /dev/fuse; as root, run:  chmod a+rw /dev/fuse" >&2
    exit 1
fi

# noted NAME KEY: succeeds if that part of .venv is complete and was made from KEY.
noted() { [ "$(cat ".venv/.$1" 2>/dev/null)" = "$2" ]; }
# fill NAME KEY LOCK...: installs lock files and notes that. If it fails half way, .venv/.run is missing, and the next
# set-up begins with a new .venv.
fill() {
    echo "preparing .venv: $1"
    rm -f .venv/.run
    scripts/install.sh .venv/bin/python "${@:3}"
    echo "$2" > ".venv/.$1"
    echo "$run" > .venv/.run
}
# An environment is created, never upgraded: packages left by an older lock would not fit the newer one.
run=$({ "$python" -VV; pwd -P; cat requirements-build.lock requirements.lock; } | sha256sum)
dev=$(sha256sum < requirements-dev.lock)
project=$(sha256sum < pyproject.toml)
if ! noted run "$run" || { [ "${1:-}" = dev ] && [ -e .venv/.dev ] && ! noted dev "$dev"; }; then
    rm -f .venv/.run
    "$python" -m venv --clear .venv
    fill run "$run" requirements-build.lock requirements.lock
fi
[ "${1:-}" != dev ] || noted dev "$dev" || fill dev "$dev" requirements-dev.lock
if ! noted project "$project"; then
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
    echo "$project" > .venv/.project
fi
