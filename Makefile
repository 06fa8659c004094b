# Everything here needs Python 3.11 or newer with pip, make and git; the rest is installed into .venv and .tools.
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3.14 python3; do \
  $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROTOS := $(wildcard proto/qgjob_proto/v1/*.proto)
BUF_VERSION := 1.75.0
BUF := .tools/node_modules/.bin/buf

# What one process has compiled the others read: without that each of the suite's workers compiles all tests again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo test chaos chaos-ci check check-model bench proto lock fmt clean

help:  ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

setup: $(STAMP)  ## Make the virtual environment

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "qgjob needs Python 3.11 or newer; install one, or set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)  ## Run a suite of real tests through the whole stack (under a minute)
	$(BIN)/python -m examples.demo

.PHONY: demo-appwright bench-appwright
BENCH_APPWRIGHT = --files 30 --test-seconds 3 --check

demo-appwright: $(STAMP)  ## Run real AppWright on stand-ins of two emulators and two cloud sessions, by qgjob and by itself (node, npm, adb)
	$(BIN)/python -m examples.appwright_demo $(ARGS)

bench-appwright: $(STAMP)  ## The same with 30 files, and what goes wrong in the middle; fails if a figure is not reached
	$(BIN)/python -m examples.appwright_demo $(BENCH_APPWRIGHT) $(ARGS)

.PHONY: fetch-appwright
fetch-appwright:  ## Install AppWright from npm for the tests, once (node, npm); they do so themselves when they need it
	@$(PYTHON) -m tests.fakes.appwright_packages

.PHONY: try-playwright
try-playwright: $(STAMP)  ## Try AppWright's fast mode with other versions of Playwright (ARGS='1.58.2 1.56.1'; node, npm)
	$(BIN)/python -m tests.playwright_trial $(ARGS)

test: $(STAMP)  ## Run all tests
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: $(STAMP)  ## Faults for an hour, then each fence switched off (ARGS='--seed 7 --minutes 10')
	$(BIN)/python -m tests.chaos --stores one:6,sentinel,cluster --jobs-per-second 8 $(if $(ARGS),,--least-faults 1000 --least-jobs 20000) --mutants --json .chaos/report.json --keep .chaos $(ARGS)

chaos-ci: $(STAMP)  ## Faults of all kinds, at least 60 of them, in three and a half minutes
	$(BIN)/python -m tests.chaos --seed 1002 --minutes 2.4 --rests 0.7 --stores one:8,sentinel:3,cluster:3 --least-faults 60 --keep .chaos $(ARGS)

check: $(STAMP)  ## Lint, types, import rules, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/proto.py --check
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory buf; \
	 else echo "buf lint left out: there is no npm on this machine"; fi

.PHONY: buf
buf: $(BUF)
	$(BUF) lint

$(BUF):
	npm install --silent --no-audit --no-fund --prefix .tools --no-save @bufbuild/buf@$(BUF_VERSION)

.PHONY: mutants machines nightly
MACHINES = tests/integration/store/test_machine.py tests/integration/store/test_crashes.py
PROPERTIES = tests/unit/agent tests/unit/policy tests/unit/model tests/unit/bench tests/unit/packages tests/chaos
LARGE = tests/integration/builds/test_memory.py

machines: $(STAMP)  ## The store's machines for 10,000 steps each
	HYPOTHESIS_PROFILE=machines $(BIN)/python -m pytest -n 2 --dist loadfile $(MACHINES) $(ARGS)

nightly: $(STAMP)  ## The store's machines for 100,000 steps each, properties for more examples, and what is counted by itself
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -n auto --dist loadfile --timeout 3600 $(MACHINES) $(PROPERTIES) $(LARGE) $(ARGS)
	$(BIN)/python tools/model.py --full --jobs 2
	$(BIN)/python -m tests.trees --trees 1000 --restarts 20
	$(BIN)/python -m tests.outages --outages 3
	$(BIN)/python -m tests.rolling_restart --restarts 20
	$(BIN)/python -m tests.rolling_restart --restarts 20 --kill
	$(BIN)/python -m tests.images
	$(BIN)/python -m examples.appwright_demo $(BENCH_APPWRIGHT)

mutants: $(STAMP)  ## Switch every rule of the catalogue off in turn, and say which test saw it
	$(BIN)/python -m tests.mutation $(ARGS)

bench: $(STAMP)  ## Measure, print a table, write bench/out/latest.json
	$(BIN)/python -m bench $(ARGS)

check-model:  ## Search the protocol's model and its mutants with spin (FULL=1: the large searches too)
	$(PYTHON) tools/model.py $(if $(FULL),--full) $(ARGS)

.PHONY: bench-scheduling
bench-scheduling: $(STAMP)  ## Simulate workloads under the policy and baselines, print a table, write bench/out/scheduling.*
	$(BIN)/python -m bench.scheduling $(ARGS)

proto: $(STAMP)  ## Generate proto/generated from proto/qgjob_proto
	$(BIN)/python tools/proto.py

lock:  ## Resolve pyproject.toml into requirements.lock (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra dev --output-file requirements.lock pyproject.toml

fmt: $(STAMP)  ## Format the code
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format --quiet .

clean:  ## Remove what was installed and generated here
	rm -rf $(VENV) .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis bench/out .qgjob .chaos
