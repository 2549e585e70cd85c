#!/usr/bin/env bash
# Resolves the dependencies into lock files: pinned, hashed, and free of any address of where they came from.
set -euo pipefail
cd "$(dirname "$0")/.."
compile=(.venv/bin/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url
         --no-annotate --python-version 3.11)
{ .venv/bin/python - <<'PY'
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))
wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["server"],
          *project["dependency-groups"]["dev"], *project["build-system"]["requires"], "editables"]
print("\n".join(wanted))
PY
} > .run/requirements.in
"${compile[@]}" --output-file requirements.lock .run/requirements.in
# What only `make bench` needs, in versions that fit the rest.
.venv/bin/python - > .run/requirements-bench.in <<'PY'
import tomllib
print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["bench"]))
PY
"${compile[@]}" --constraint requirements.lock --output-file requirements-bench.lock .run/requirements-bench.in
for version in 0.75.0 2.12.0; do
    echo "anthropic==$version" | "${compile[@]}" --output-file "tests/sdk/anthropic-$version.lock" -
done
