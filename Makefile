# `make` lists the targets. Each line calls one tool; the environment in .venv is made on first use.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# The first interpreter that is new enough. `python3` alone may be older than what is installed beside it.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run setup test test-fast soak bench fuzz lint fmt type proto proto-check migrations-check audit check lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

run: $(VENV)/.installed-run ## Start everything on an embedded Postgres and play a sample story (ARGS=--help tells the options)
	exec $(BIN)/clerksync dev --stop-with-parent $(ARGS)

setup: $(VENV)/.installed-dev ## Make the development environment

test: $(VENV)/.installed-dev ## The whole suite, on a Postgres it starts itself
	$(BIN)/pytest -n auto --maxprocesses 4 $(ARGS)

test-fast: $(VENV)/.installed-dev ## Only the tests that need no database
	$(BIN)/pytest tests/unit $(ARGS)

soak: $(VENV)/.installed-dev ## Random histories and kills for a long time, with a report (ARGS=--help tells the options)
	scripts/soak $(ARGS)

bench: $(VENV)/.installed-bench ## Measure everything against its floors, with a table, JSON and a plot (ARGS=--help tells the options)
	$(BIN)/python -m bench $(ARGS)

fuzz: $(VENV)/.installed-fuzz ## Coverage-guided fuzzing of what strangers reach, ten minutes each target (ARGS=--help tells the options)
	$(BIN)/python -m fuzz $(ARGS)

fmt: $(VENV)/.installed-dev ## Format and sort imports
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

lint: $(VENV)/.installed-dev ## Style, and which module may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: $(VENV)/.installed-dev ## mypy --strict
	$(BIN)/mypy

proto: $(VENV)/.installed-dev $(VENV)/.installed-proto ## Generate the Python and TypeScript code of protos/ anew
	scripts/proto generate
	@command -v npm >/dev/null || { echo "There is no npm: the TypeScript code was not generated." >&2; exit 1; }
	npm --prefix clients/typescript ci --silent
	npm --prefix clients/typescript run generate

proto-check: $(VENV)/.installed-dev $(VENV)/.installed-proto ## Lint the protos, look for breaking changes and for stale generated code
	scripts/proto check

migrations-check: $(VENV)/.installed-dev ## Lint the SQL migrations
	$(BIN)/squawk --config migrations/.squawk.toml migrations/sql/*.sql

audit: $(VENV)/.installed-dev ## Ask for known vulnerabilities of what is locked (skipped without the network)
	$(BIN)/python scripts/audit

check: lint type proto-check migrations-check audit test ## All that CI runs

lock: $(VENV)/.installed-dev ## Pin the dependencies anew (hashes, no addresses)
	scripts/lock

clean: ## Remove the environments and the development database
	rm -rf $(VENV) .venv-proto .clerksync .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf clients/typescript/node_modules clients/typescript/dist

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "clerksync needs Python 3.11 or newer; none was found. Set PYTHON=/path/to/python3." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "'$(PYTHON) -m venv' failed: on Debian and Ubuntu install python3-venv." >&2; exit 1; }

$(VENV)/.installed-run: $(VENV)/bin/python requirements.lock pyproject.toml
	@echo "Installing into $(VENV) …"
	@$(PIP_INSTALL) --require-hashes -r requirements.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-run requirements-dev.lock
	@echo "Installing the development tools into $(VENV) …"
	@$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-run requirements-bench.lock
	@echo "Installing what draws the plot into $(VENV) …"
	@$(PIP_INSTALL) --require-hashes -r requirements-bench.lock
	@touch $@

$(VENV)/.installed-fuzz: $(VENV)/.installed-run requirements-fuzz.lock
	@echo "Installing the fuzzer into $(VENV) …"
	@$(PIP_INSTALL) --require-hashes -r requirements-fuzz.lock
	@touch $@

# The generator is older than the runtime on purpose (see scripts/proto), so it lives in an environment of its own.
$(VENV)/.installed-proto: requirements-proto.lock | $(VENV)/bin/python
	@$(BIN)/python -m venv .venv-proto
	@.venv-proto/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-proto.lock
	@touch $@
