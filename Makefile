# Everything a person types. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ARGS   ?=
# What runs whole processes waits for them more than for the processor; the rest fills it.
CORES   = $(shell "$(PYTHON)" -c 'import os; print(os.cpu_count() or 1)')
PATIENT = $(shell echo $$((2 * $(CORES) + 1)))
BUSY    = $(shell echo $$(($(CORES) + 2)))
CODE   := $(wildcard app workers migrations tests bench proof)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test campaign check run bench prove fmt docs lock clean

help: ## List what there is
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nArguments are handed on with ARGS, e.g.  make test ARGS="tests/unit -x"\n'
	@printf 'Another Python for the environment:      make setup PYTHON=python3.12\n'

setup: $(STAMP) ## Make .venv from the lock file (runs by itself before the others)

# An interpreter that no longer answers (a moved folder, an upgraded system) means a new environment.
# The stamp is written last: an interrupted installation is repeated.
$(STAMP): requirements-dev.lock pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "No '$(PYTHON)' found. Nothing was installed. Install Python 3.11 or newer, or name one: make setup PYTHON=/path/to/python3" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "'$(PYTHON)' is older than Python 3.11. Nothing was installed. Name a newer one: make setup PYTHON=/path/to/python3" >&2; exit 2; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "'$(PYTHON)' has no venv module. Nothing was installed. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@rm -f $(STAMP)
	@if ! $(BIN)/python -c 'import pip' 2>/dev/null; then "$(PYTHON)" -m venv --clear $(VENV); fi
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP) ## The whole life of some hundred orders, with kills, on a throw-away database
	@$(BIN)/ledger-worker demo $(ARGS)

# Where the surroundings forbid to keep compiled modules, each of some hundred processes would compile them all anew.
test campaign: export PYTHONDONTWRITEBYTECODE :=

test: $(STAMP) ## All tests but campaigns, in several processes, each with a server of its own
ifneq ($(ARGS),)
	$(BIN)/python -m pytest $(ARGS)
else
	@status=0; run() { echo "pytest $$*"; $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder -m "not campaign" "$$@" || status=1; }; \
	run -n $(or $(JOBS),$(PATIENT)) tests/acceptance; \
	run -n $(or $(JOBS),$(BUSY)) tests/integration tests/unit; \
	exit $$status
endif

campaign: $(STAMP) ## The tests that take minutes each: the demo under all faults, a start killed at every step
	$(BIN)/python -m pytest -m campaign --timeout=0 --durations=0 $(or $(ARGS),tests/)

check: $(STAMP) ## Lint, format, types, contracts, generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports --no-logo
	@if [ -e workers/docs.py ] || [ -e workers/docs/__main__.py ]; then \
	  echo "$(BIN)/python -m workers.docs --check"; $(BIN)/python -m workers.docs --check; fi

run: $(STAMP) ## The worker in the foreground
	@$(BIN)/ledger-worker start $(ARGS)

bench: ## Benchmarks (come with a later release)
	@echo "There are no benchmarks in this release; nothing was measured. See CHANGELOG.md for what it holds." >&2; exit 2

prove: $(STAMP) ## Campaigns that try to break it: SHORT=1, PART=name, SEED=n, ONLY=name, SECONDS=n, REPORT=1
	@$(BIN)/python -m proof $(addprefix --part ,$(PART)) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only '$(ONLY)') \
	  $(if $(SECONDS),--seconds $(SECONDS)) $(if $(PROCESSES),--processes $(PROCESSES)) $(if $(SHORT),--short) \
	  $(if $(REPORT),--report) $(ARGS)

fmt: $(STAMP) ## Format, and mend what can be mended by machine
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(STAMP) ## Write the generated documents anew
	$(BIN)/python -m workers.docs

lock: ## Pin all versions anew (needs uv)
	@command -v uv >/dev/null || { echo "No 'uv' found. Nothing was changed. Install uv, then repeat." >&2; exit 2; }
	@set -x; flags="--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --quiet --upgrade"; \
	export UV_CUSTOM_COMPILE_COMMAND="make lock"; \
	printf 'setuptools>=77\nwheel\n' | uv pip compile $$flags --extra dev -o requirements-dev.lock pyproject.toml -; \
	uv pip compile $$flags -c requirements-dev.lock -o requirements.lock pyproject.toml

clean: ## Remove the environment and everything generated
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
