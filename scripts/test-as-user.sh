#!/usr/bin/env bash
# test-as-user.sh [PYTEST ARGUMENT...]: runs `make run` and tests as an ordinary user; without arguments, a sample.
# Root makes a user for that and hands over a copy of this checkout, its packages included: what they are made from was
# set up by `make test`. An ordinary user just runs them here.
set -euo pipefail
cd "$(dirname "$0")/.."
user=remotefs-test
sample=(tests/cli/test_commands.py tests/mount/test_close.py tests/mount/test_tools.py::TestShell
        tests/mount/test_tools.py::TestTools tests/posix/test_open.py tests/upkeep/test_ids.py -n 3 --dist worksteal)
[ "$#" -gt 0 ] || set -- "${sample[@]}"

if [ "$(id -u)" -ne 0 ]; then
    scripts/demo.sh start
    scripts/demo.sh stop
    exec .venv/bin/python -m pytest -m "not long" "$@"
fi

as_user() {
    # The command is started a hundred times: it must not be compiled anew for each.
    runuser -u "$user" -- env -u PYTHONPATH -u PYTHONDONTWRITEBYTECODE HOME="$home" \
        PYTHONPYCACHEPREFIX="$home/pycache" "$@"
}

id "$user" >/dev/null 2>&1 || useradd --create-home "$user"
home=$(getent passwd "$user" | cut -d: -f6)
# udev gives everybody the device; where there is no udev, as in containers, nobody did.
chmod a+rw /dev/fuse
here=$home/checkout
rm -rf "$here"
mkdir -p "$here"
git ls-files -z | xargs -0 tar -cf - | tar -xf - -C "$here"

# The packages fit any interpreter of the same version, and root's own may lie where nobody else gets.
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
