# Marquee. `make demo` and `make test` do all their own set-up; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CODE := feature_repo materialization ranking_service skew_checks marquee tests
DATA ?=
ONLY ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format lint types generated bench chaos lock clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(READY) ## install everything into .venv, from the lock file

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Marquee needs Python 3.11 or newer; $(PYTHON) is older. Name another: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Installing into $(VENV) (once; a minute or two) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## the whole street, from events to a ranking; DATA=path/to/kuairand-pure-2w for the real log
	@$(BIN)/marquee demo $(if $(DATA),--data $(DATA))

test: $(READY) ## run the tests
	@$(BIN)/python -m pytest

check: format lint types generated ## everything but the tests; changes nothing

format: $(READY) ## is the code formatted? (mend: .venv/bin/ruff format)
	@$(BIN)/ruff format --check --quiet $(CODE) || { $(BIN)/ruff format --check $(CODE); exit 1; }

lint: $(READY) ## ruff, and the import directions
	@$(BIN)/ruff check --quiet $(CODE)
	@$(BIN)/python -m pytest --quiet tests/test_architecture.py

types: $(READY) ## mypy --strict
	@$(BIN)/mypy

generated: $(READY) ## is the generated gRPC code up to date?
	@$(BIN)/python -m ranking_service.proto.generate --check

bench: $(READY) ## latency of Rank next to the floor
	@$(BIN)/marquee bench rank

chaos: $(READY) ## fault tests of the ranking server: some ten minutes, prints a table; ONLY=NAME,NAME for some
	@$(BIN)/python -m tests.chaos $(if $(ONLY),--only $(ONLY)) --json chaos.json

lock: $(READY) ## renew requirements.lock from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --extra dev --extra otel --universal --python-version 3.11 --fork-strategy fewest \
		--generate-hashes --no-emit-index-url --no-header --quiet --output-file requirements.lock

clean: ## remove the environment, the workspace and all caches
	@rm -rf $(VENV) .marquee build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
