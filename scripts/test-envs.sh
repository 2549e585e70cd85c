#!/usr/bin/env bash
# One environment for each lock file beside tests that need something else than .venv has: tests/*/NAME.lock becomes
# .envs/NAME. Those are the vendor's SDKs, other releases of pip, the successor of httpx. Quick when all are there.
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
