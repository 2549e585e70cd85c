#!/usr/bin/env bash
# install.sh PYTHON LOCK...: installs exactly the packages of the lock files into the environment of PYTHON.
# A lock is complete, so nothing is resolved: an old pip would look for the newest release of an extra's requirements
# and, with hashes, refuse it. A build fetches nothing either: the build tools are locked too, and are installed first.
set -euo pipefail
pip=("$1" -m pip --disable-pip-version-check)
# Debugging symbols take two thirds of pyfuse3's compile time.
export CFLAGS=${CFLAGS:--g0}
for lock in "${@:2}"; do
    # The build tools run once, so their bytecode need not be kept.
    compile=$([[ $lock == *-build.lock ]] && echo --no-compile || echo --compile)
    "${pip[@]}" install --quiet --no-deps --no-build-isolation "$compile" --require-hashes -r "$lock"
done
broken=$("${pip[@]}" check) || { echo "$broken" >&2; exit 1; }
