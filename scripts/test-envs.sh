#!/usr/bin/env bash
# Creates an environment for each lock file beside tests that need packages outside .venv: tests/*/NAME.lock becomes
# .envs/NAME. They hold the vendor's SDKs, other releases of pip and httpx's successor. Quick when all exist.
set -euo pipefail
cd "$(dirname "$0")/.."
for lock in tests/*/*.lock; do
    name=$(basename "$lock" .lock)
    home=.envs/$name
    cmp -s "$lock" "$home/.locked" && [ -x "$home/bin/python" ] && continue
    echo "preparing $home"
    .venv/bin/python -m venv --clear "$home"
    scripts/install.sh "$home/bin/python" "$lock"
    cp "$lock" "$home/.locked"
done
