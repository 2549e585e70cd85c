# `make run` and `make test` are all that a newcomer needs; CONTRIBUTING.md tells the rest.
SHELL := /bin/bash
BIN := .venv/bin
# The tests start the command some hundred times: it must not be compiled anew for each.
PYTEST := env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX=$(CURDIR)/.run/pycache $(BIN)/python -m pytest

.PHONY: help setup setup-dev run stop test coverage test-user test-long check format lint lock bench clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 14

setup:           ## system packages that are missing, .venv, the locked dependencies
	@scripts/setup.sh

setup-dev:       ## the same, and what lint and tests need
	@scripts/setup.sh dev

run: setup       ## a local server with sample files, mounted at ./mnt
	@scripts/demo.sh start

stop:            ## unmount ./mnt and stop the local server
	@scripts/demo.sh stop

test: setup-dev      ## every test but the long ones, the kernel-mount ones included
	@scripts/test-tools.sh
	@scripts/test-envs.sh
	$(PYTEST) -m "not long" -n 3 --dist worksteal $(ARGS)

coverage: setup-dev  ## the same, half as fast, with the branches that no test takes, in the mounts' processes too
	@mkdir -p .run/coverage && rm -f .run/coverage/data*
	@$(MAKE) --no-print-directory test ARGS="--cov --cov-report=term:skip-covered $(ARGS)"

test-long: setup-dev ## hours: random runs against the model, every crash point, outages, ten thousand faulty uploads
	$(PYTEST) -m long --timeout 3600 $(ARGS)

test-user: setup-dev ## a sample of the tests, and `make run`, as an ordinary user; root makes one for that
	@scripts/test-as-user.sh $(ARGS)

check: setup-dev     ## what has to be clean before a change lands: format, lint, types, layers, tests
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test

format: setup-dev    ## rewrite the sources in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup-dev      ## format, lint, types and import layers, nothing rewritten
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

lock: setup-dev      ## resolve the dependencies anew into the lock files
	@scripts/lock.sh

bench: setup-dev     ## an hour: measure, beside the peers that are installed; tables and a plot to docs/benchmarks
	@scripts/install.sh $(BIN)/python requirements-bench.lock
	$(BIN)/python scripts/bench.py --to docs/benchmarks/mount.md
	$(BIN)/python scripts/bench_peers.py --to docs/benchmarks/peers.md
	$(BIN)/python scripts/plot.py docs/benchmarks/peers.json

clean: stop      ## remove what make made
	rm -rf .venv .envs .run .mypy_cache .ruff_cache .pytest_cache .hypothesis
