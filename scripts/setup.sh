#!/usr/bin/env bash
# setup.sh [dev]: makes the machine and the checkout ready: system packages that are missing, .venv, the locked
# dependencies; with `dev` also those of lint and tests. Quick and silent when there is nothing to do.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
have() { command -v "$1" >/dev/null 2>&1; }
have fusermount3 || missing+=(fuse3)
have gcc || missing+=(gcc)
have pkg-config || missing+=(pkg-config)
have pkg-config && pkg-config --exists fuse3 || missing+=(libfuse3-dev)
python=$(command -v python3.11 || command -v python3 || true)
if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "remotefs needs Python 3.11 or newer; install it and run this again" >&2
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
        echo "install what provides: ${missing[*]} (Debian names), then run this again" >&2
        exit 1
    fi
    echo "installing system packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # A first try without the index: a machine that has one does not wait for a new one.
    # shellcheck disable=SC2086
    "${as_root[@]}" $install -qq >/dev/null 2>&1 ||
        { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" $install -qq >/dev/null; }
fi
if [ ! -e /dev/fuse ]; then
    echo "/dev/fuse is missing: load the fuse kernel module (modprobe fuse) or give the container the device" >&2
    exit 1
fi

# fill NAME LOCK...: brings .venv up to date with lock files, unless it was when NAME was last noted.
fill() {
    local stamp=.venv/.$1 locks=("${@:2}")
    cmp -s <(cat "${locks[@]}" pyproject.toml) "$stamp" && return
    echo "preparing .venv: $1"
    # Whatever breaks from here on leaves no .venv/.run, and so a new .venv next time.
    rm -f "$stamp" .venv/.run
    scripts/install.sh .venv/bin/python "${locks[@]}"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
    cat requirements-build.lock requirements.lock pyproject.toml > .venv/.run
    cat "${locks[@]}" pyproject.toml > "$stamp"
}
if [ ! -x .venv/bin/python ] || [ ! -e .venv/.run ]; then
    "$python" -m venv --clear .venv
fi
fill run requirements-build.lock requirements.lock
[ "${1:-}" != dev ] || fill dev requirements-dev.lock
