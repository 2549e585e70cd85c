#!/usr/bin/env bash
# Creates an environment for each lock file beside tests that need packages outside .venv: tests/*/NAME.lock becomes
# .envs/NAME. They hold the vendor's SDKs, other releases of pip and httpx's successor. Quick when all exist.
set -euo pipefail
cd "$(dirname "$0")/.."
prepare() {
    local lock=$1 home=.envs/$(basename "$1" .lock)
    cmp -s "$lock" "$home/.locked" && [ -x "$home/bin/python" ] && return
    echo "preparing $home"
    .venv/bin/python -m venv --clear "$home"
    scripts/install.sh "$home/bin/python" "$lock"
    cp "$lock" "$home/.locked"
}
export -f prepare
printf '%s\0' tests/*/*.lock | xargs -0 -n 1 -P 2 bash -euo pipefail -c 'prepare "$1"' prepare
