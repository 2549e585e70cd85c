#!/usr/bin/env bash
# install.sh PYTHON LOCK...: puts what the lock files name, and nothing else, into the environment of PYTHON.
# A lock is whole, so nothing is resolved: an old pip would look for the newest release of what an extra asks for and,
# with hashes, refuse it. Nor does a build fetch anything: what builds is locked too, and comes first.
set -euo pipefail
pip=("$1" -m pip --disable-pip-version-check)
# Debugging symbols take two thirds of the time in which pyfuse3 is compiled.
export CFLAGS=${CFLAGS:--g0}
for lock in "${@:2}"; do
    # What builds is used once: it need not be compiled for later.
    compile=$([[ $lock == *-build.lock ]] && echo --no-compile || echo --compile)
    "${pip[@]}" install --quiet --no-deps --no-build-isolation "$compile" --require-hashes -r "$lock"
done
broken=$("${pip[@]}" check) || { echo "$broken" >&2; exit 1; }
