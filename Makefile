# Everything needs only Python 3.11+ and make; `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
# More than there are cores: most tests wait for servers, encoders and clocks.
TEST_JOBS ?= 3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := .setup
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-header --no-annotate --quiet

.PHONY: help setup packages demo test lint format run bench lock clean

help: ## List these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(STAMPS)/dev ## Make the environment in .venv with the locked dependencies

demo: $(STAMPS)/run ## Publish a live stream, watch it, detect, cut, alert: the main job in under a minute
	@$(BIN)/livecordon demo $(DEMO_ARGS)

run: $(STAMPS)/run ## Run the daemon with config.yaml
	@$(BIN)/livecordon run --config config.yaml

test: $(STAMPS)/dev packages ## Run every test
	@$(BIN)/pytest --numprocesses $(TEST_JOBS) --dist loadfile --no-loadscope-reorder $(TEST_ARGS)

lint: $(STAMPS)/dev ## Check style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(STAMPS)/dev ## Format the code and mend what can be mended
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

packages: ## Install the Debian packages and the Node-Media-Server that some tests need, where that is allowed
	@bash deploy/install-test-packages.sh

lock: | $(BIN)/python ## Pin every dependency anew
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	@$(COMPILE) --group dev --output-file requirements-dev.lock
	@$(COMPILE) --group build --constraint requirements-dev.lock --output-file requirements.lock

clean: ## Remove the environment, caches and everything the daemon wrote here
	rm -rf $(VENV) $(STAMPS) .node dist livecordon-data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Livecordon needs Python 3.11 or newer; name one with make PYTHON=python3.12")'
	@echo "Making the environment in $(VENV) …"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "On Debian and Ubuntu, install python3-venv first: apt-get install python3-venv" >&2; exit 1; }

# A stamp is newer than the lock file it was made from: nothing is installed twice.
$(STAMPS)/run: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing the locked dependencies …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "Installing the locked dependencies for development …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@mkdir -p $(STAMPS) && touch $(STAMPS)/run $@
