#!/usr/bin/env bash
# One environment for each of the vendor's SDKs that judge the local server (tests/sdk): .sdk/<version>.
set -euo pipefail
cd "$(dirname "$0")/.."
for lock in tests/sdk/anthropic-*.lock; do
    version=${lock#tests/sdk/anthropic-} version=${version%.lock}
    home=.sdk/$version
    cmp -s "$lock" "$home/.locked" && continue
    echo "preparing $home"
    .venv/bin/python -m venv --clear "$home"
    scripts/install.sh "$home/bin/python" "$lock"
    cp "$lock" "$home/.locked"
done
