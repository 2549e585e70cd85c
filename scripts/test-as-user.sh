#!/usr/bin/env bash
# test-as-user.sh [PYTEST ARGUMENT...]: runs `make run` and tests as an ordinary user; without arguments, a sample.
# Root creates a user for that and gives it a copy of this checkout and of the packages that `make test` installed.
# An ordinary user runs them in place.
set -euo pipefail
cd "$(dirname "$0")/.."
user=remotefs-test
sample=(tests/cli/test_commands.py tests/mount/test_close.py tests/mount/test_tools.py::TestShell
        tests/mount/test_tools.py::TestTools tests/posix/test_open.py tests/upkeep/test_ids.py -n 3 --dist worksteal)
[ "$#" -gt 0 ] || set -- "${sample[@]}"

if [ "$(id -u)" -ne 0 ]; then
    scripts/demo.sh start
    scripts/demo.sh stop
    exec .venv/bin/python -m pytest -m "not long and not desktop and not store" "$@"
fi

as_user() {
    # The command is started a hundred times, so its bytecode is compiled once and kept.
    runuser -u "$user" -- env -u PYTHONPATH -u PYTHONDONTWRITEBYTECODE HOME="$home" \
        PYTHONPYCACHEPREFIX="$home/pycache" "$@"
}

id "$user" >/dev/null 2>&1 || useradd --create-home "$user"
home=$(getent passwd "$user" | cut -d: -f6)
# udev opens the device to everybody; containers have no udev.
chmod a+rw /dev/fuse
here=$home/checkout
rm -rf "$here"
mkdir -p "$here"
git ls-files -z | xargs -0 tar -cf - | tar -xf - -C "$here"

# The packages fit any interpreter of the same version; other users may have no access to root's own.
version=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
python=
for candidate in "$(realpath .venv/bin/python)" "/usr/bin/python$version" "/usr/local/bin/python$version"; do
    if as_user "$candidate" -c '' 2>/dev/null; then python=$candidate && break; fi
done
if [ -n "$python" ]; then
    packages=lib/python$version/site-packages
    "$python" -m venv --without-pip "$here/.venv"
    cp -r ".venv/$packages/." "$here/.venv/$packages/"
    echo "$here" > "$here/.venv/$packages/_editable_impl_remotefs.pth"
    printf '#!/bin/sh\nexec "%s/.venv/bin/python" -m remotefs "$@"\n' "$here" > "$here/.venv/bin/remotefs"
    chmod +x "$here/.venv/bin/remotefs"
    chown -R "$user:" "$here"
else
    chown -R "$user:" "$here"
    as_user make -C "$here" --no-print-directory setup-dev
fi
cd "$here"
as_user scripts/test-as-user.sh "$@"
