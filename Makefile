# `make demo` and `make test` are all that a fresh machine needs: each sets everything up by itself.

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3
JOBS ?= 2
PINS := .ci/constraints.txt
SLOW := docs hardening servers service test_distributed.py test_secrets.py test_store_survival.py

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast coverage docs hardening mutation test-servers release-check lock audit check \
        format clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready ## Make the virtual environment and install everything in it

$(VENV)/.ready: pyproject.toml $(PINS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint $(PINS) pip
	$(BIN)/python -m pip install --quiet --constraint $(PINS) --build-constraint $(PINS) --editable ".[dev]"
	@touch $@

demo: setup ## Score the example photographs and draw how the scores came about
	@mkdir -p demo
	$(BIN)/qdebias score examples/photos --out demo/scores.csv
	$(BIN)/qdebias explain examples/photos --model nano-biased --grid --out demo/report.png
	$(BIN)/qdebias explain $(addprefix examples/photos/,mountain.jpg stream-blurred.jpg dandelion.jpg) --model nano-biased --out docs/demo.jpg

test: setup ## Run all tests
	$(BIN)/python -m pytest -n $(JOBS)

test-fast: setup ## Run the tests that need no server, cluster, browser or attack
	$(BIN)/python -m pytest -n $(JOBS) $(addprefix --ignore=tests/,$(SLOW))

coverage: setup ## Run the fast tests and say which lines of the core they leave out; fails below 90 %
	$(BIN)/coverage erase
	$(BIN)/python -m pytest -n $(JOBS) $(addprefix --ignore=tests/,$(SLOW)) --cov --cov-report=
	$(BIN)/coverage report

docs: setup ## Build the documentation as a site, in build/site; fails on any broken link or anchor
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict # not --quiet, under which it does not fail

hardening: setup ## Try faults, bad input and attacks in bulk, and print how many; some minutes
	$(BIN)/python -m pytest tests/hardening --hardening -n $(JOBS)

mutation: setup ## Change the arithmetic in hundreds of ways, and list the changes that no test notices; some minutes
	$(BIN)/mutmut run --max-children $(JOBS)
	$(BIN)/mutmut results

test-servers: setup ## Build llama.cpp's server and score through it; some 20 minutes and 77 MB the first time
	JOBS=$(JOBS) $(BIN)/python tests/servers/llama.py build/servers
	$(BIN)/python -m venv build/servers/mlx
	build/servers/mlx/bin/python -m pip install --quiet mlx-vlm==0.7.10 "mlx[cpu]==0.32.4"
	QDEBIAS_SERVERS=build/servers $(BIN)/python -m pytest tests/servers -s

release-check: ## Build wheel and sdist, and try them in fresh environments; licences and bill of materials
	PYTHON=$(PYTHON) .ci/release

lock: setup ## Choose anew the versions that continuous integration installs, the newest that fit
	$(BIN)/python tools/lock.py

audit: ## Ask PyPI for known vulnerabilities of those versions; needs network, and is in no other target
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install --quiet "pip-audit>=2.9,<3"
	build/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement $(PINS)

check: setup ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup ## Put the code into the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove what the other targets made
	rm -rf $(VENV) demo build dist mutants .mypy_cache .pytest_cache .ruff_cache .hypothesis
