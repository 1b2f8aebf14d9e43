# Every target sets up what it needs: a virtual environment in .venv, made again only when the lock file changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes that share the tests, two more than cores: many tests wait. Each has a PostgreSQL of its own.
WORKERS ?= 4
# Without .pyc files every import is several times slower.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test test-all test-oldest lint docs lock sbom screenshots image compose-test terraform-check clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP)  ## create .venv with the locked versions

$(STAMP): requirements.lock requirements-build.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.version_info >= (3, 14))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed, found: $$($(PYTHON) --version 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "Python's venv module is missing. On Debian or Ubuntu: sudo apt-get install python3-venv"; exit 2; }
	@echo "Installing the locked packages into $(VENV), once ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-build.lock
	@$(BIN)/uv pip install --quiet --require-hashes --compile-bytecode --python $(BIN)/python -r requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@
	@echo "$(VENV) is ready: $$($(BIN)/python --version), $$(grep -c '^[a-z].*==' requirements.lock) locked packages."

demo: $(STAMP)  ## the whole system on the embedded exchange, offline
	@$(BIN)/trading-assets demo

dev: $(STAMP)  ## the Dagster UI on http://127.0.0.1:3000 with schedules and sensors running, the live page on :3001
	@$(BIN)/trading-assets doctor --quiet
	@$(BIN)/trading-assets serve --if-configured --dashboard & serve=$$!; trap 'kill $$serve 2>/dev/null' EXIT; \
	  DAGSTER_HOME="$(CURDIR)" DAGSTER_DEV_WITHOUT_PROXY=1 $(BIN)/dagster dev

test: $(STAMP)  ## what a change needs: every test but the slow ones, without network or account (WORKERS=1 for one core)
	@echo "Tests in $(WORKERS) processes, the slow ones left out (make test-all runs them too) ..."
	@$(BIN)/pytest -m "not slow" --numprocesses $(WORKERS) --dist worksteal

test-all: $(STAMP)  ## every test, the slow ones too
	@echo "All tests in $(WORKERS) processes ..."
	@$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal

test-oldest: $(STAMP)  ## what a change needs, with the oldest versions that pyproject.toml allows, in .venv-oldest
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)-oldest
	@$(BIN)/uv pip install --quiet --resolution lowest-direct --python $(VENV)-oldest/bin/python --editable '.[dev]'
	@$(VENV)-oldest/bin/python -m pytest -m "not slow" --numprocesses $(WORKERS) --dist worksteal

lint: $(STAMP)  ## style, types and layering
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

docs: $(STAMP)  ## the pages, tables and .env.example that are made from the code
	@$(BIN)/trading-assets reference

# Without UPGRADE the pins stay where pyproject.toml allows them. Everything: UPGRADE=--upgrade. One package:
# UPGRADE="--upgrade-package numba".
UPGRADE ?=
lock:  ## resolve pyproject.toml into requirements.lock; pins stay (UPGRADE=--upgrade takes the newest of everything)
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes --no-header \
	  $(UPGRADE) pyproject.toml --output-file requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra celery --extra otel --generate-hashes \
	  --no-header -c requirements.lock pyproject.toml -o requirements.runtime.lock
	@printf "uv>=0.9,<1\nsetuptools>=77\n" | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate $(UPGRADE) - --output-file requirements-build.lock

sbom: $(STAMP)  ## what is installed, as sbom.json (CycloneDX): names, versions, hashes
	@cat requirements.lock requirements-build.lock | $(BIN)/python -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml \
	  --mc-type application --output-reproducible --output-format JSON --output-file sbom.json -
	@$(BIN)/python deploy/add_vendored.py sbom.json
	@echo "sbom.json lists $$($(BIN)/python -c 'import json; print(len(json.load(open("sbom.json"))["components"]))') components."

screenshots: $(STAMP)  ## the pictures of the docs, taken by the browser test (needs chromium)
	@UI_PICTURES=docs/images $(BIN)/pytest -rs trading_assets_tests/ui

# BUILDER: docker, podman. BASE: another image with Debian and Python 3.13.
BUILDER ?= docker
IMAGE ?= trading_assets:local
image:  ## build the image of all roles (BUILDER=podman, BASE=another base)
	@$(BUILDER) build $(if $(BASE),--build-arg BASE=$(BASE)) --build-arg REVISION=$$(git rev-parse --short=12 HEAD) --tag $(IMAGE) .

compose-test: $(STAMP)  ## start compose.yaml with real containers, kill some, back up and restore (needs the image and podman)
	@$(BIN)/python deploy/compose/try_it.py

terraform-check:  ## what can be tried of deploy/terraform without an account (needs terraform; checkov where it is there)
	@deploy/terraform/check.sh

clean:  ## remove the environment and caches; state in .trading_assets is kept
	rm -rf $(VENV) $(VENV)-oldest build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
