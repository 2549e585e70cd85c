# A newcomer needs only `make run` and `make test`; CONTRIBUTING.md explains the rest.
SHELL := /bin/bash
BIN := .venv/bin
# The tests start the command some hundred times, so its bytecode is compiled once and kept.
PYTEST := env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX=$(CURDIR)/.run/pycache $(BIN)/python -m pytest

.PHONY: help setup setup-dev run stop test test-tools test-envs coverage test-user test-desktop test-store test-long check format lint reference lock bench conformance soak dist deb clean

help:            ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 14

setup:           ## install missing system packages, .venv and the locked dependencies
	@scripts/setup.sh

setup-dev:       ## the same, plus the tools for lint and tests
	@scripts/setup.sh dev

run: setup       ## start a local server with sample files and mount it at ./mnt
	@scripts/demo.sh start

stop:            ## unmount ./mnt and stop the local server
	@scripts/demo.sh stop

test: test-tools test-envs ## run every test but the long ones, including those on real mounts
	$(PYTEST) -m "not long and not desktop and not store" -n 4 --dist worksteal $(ARGS)

test-tools: setup-dev
	@scripts/test-tools.sh

test-envs: setup-dev
	@scripts/test-envs.sh

coverage: setup-dev  ## the same at half the speed, and list the branches that no test takes, also in mounts' processes
	@mkdir -p .run/coverage && rm -f .run/coverage/data*
	@$(MAKE) --no-print-directory test ARGS="--cov --cov-report=term:skip-covered $(ARGS)"

test-long: setup-dev ## run for hours: random runs against the model, every crash point, outages, ten thousand faulty uploads
	$(PYTEST) -m long --timeout 3600 $(ARGS)

test-desktop: setup-dev ## use a mount in Thunar and PCManFM, by keys and mouse on a screen in memory
	@scripts/desktop-tools.sh
	$(PYTEST) -m desktop tests/desktop $(ARGS)

test-store: setup-dev ## put, read and lose objects in SeaweedFS, beside rclone, which also get killed and stopped
	@scripts/store-tools.sh
	$(PYTEST) -m store tests/objects tests/mount $(ARGS)

test-user: setup-dev ## run `make run` and a sample of the tests as an ordinary user; root creates one for that
	@scripts/test-as-user.sh $(ARGS)

check: setup-dev     ## run everything that must pass before a change lands: format, lint, types, layers, tests
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test

format: setup-dev    ## rewrite the sources in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup-dev      ## check format, lint, types and import layers without rewriting anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

reference: setup-dev ## rewrite the man pages and docs/cli.md from the commands themselves
	$(BIN)/python scripts/reference.py

lock: setup-dev      ## resolve the dependencies again and rewrite the lock files
	@scripts/lock.sh

bench: setup-dev     ## measure for an hour, beside the installed peers; write tables and a plot to docs/benchmarks
	@scripts/store-tools.sh
	@scripts/install.sh $(BIN)/python requirements-bench.lock
	$(BIN)/python scripts/bench.py --to docs/benchmarks/mount.md
	$(BIN)/python scripts/bench_peers.py --to docs/benchmarks/peers.md
	$(BIN)/python scripts/plot.py docs/benchmarks/peers.json

conformance: setup-dev ## drive xfstests, pjdfstest and fsx where they lie beside; write to docs/conformance.md
	$(BIN)/python scripts/conformance.py --to docs/conformance.md $(ARGS)

soak: setup-dev      ## let two mounts work on a faulty service for an hour; write figures and a plot to docs/benchmarks
	@scripts/install.sh $(BIN)/python requirements-bench.lock
	$(BIN)/python scripts/soak.py --to docs/benchmarks/soak.md $(ARGS); result=$$?; \
	$(BIN)/python scripts/soak_plot.py docs/benchmarks/soak.csv && exit $$result

dist: setup          ## build the wheel and the archive of the sources in dist/
	$(BIN)/python -m hatchling build -d dist

deb: setup           ## build a Debian package for the release of Debian that runs this, in dist/
	@python3 scripts/deb.py

clean: stop      ## remove everything that make created
	rm -rf .venv .envs .run .mypy_cache .ruff_cache .pytest_cache .hypothesis
