#!/usr/bin/env bash
# One environment for each of the vendor's SDKs that judge the local server (tests/sdk): .sdk/<version>.
set -euo pipefail
cd "$(dirname "$0")/.."
for lock in tests/sdk/anthropic-*.lock; do
    version=${lock#tests/sdk/anthropic-} version=${version%.lock}
    home=.sdk/$version
    cmp -s "$lock" "$home/.locked" && continue
    echo "preparing $home"
    [ -x "$home/bin/python" ] || .venv/bin/python -m venv "$home"
    "$home/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
    cp "$lock" "$home/.locked"
done
