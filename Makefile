# Two commands do everything: `make run` sets up and serves, `make test` sets up and tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run setup setup-dev test ollama cluster cluster-down cluster-tools e2e e2e-release e2e-beside check format lint types contracts lock-check bench simulate reality generate lock clean image docs

help: ## say what can be made
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

run: setup ## set up and serve http://localhost:8080 from config.yml (simulated endpoints if no Ollama is found)
	$(BIN)/ai-gateway serve --demo

setup: $(VENV)/.runtime ## make .venv with the ai-gateway command in it

setup-dev: $(VENV)/.dev

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.python requirements/build.txt requirements/runtime.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt -r requirements/runtime.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

# Most of a test is waiting: more workers than cores are busy. Each has its share of the tests and takes from others
# what they have left. Byte code is kept: the commands that tests start by the hundred are compiled once.
WORKERS ?= 4

test: export PYTHONDONTWRITEBYTECODE :=
test: setup-dev ## set up and run every test that needs nothing but Python, in WORKERS=4 processes (0: in this one)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not ollama and not cluster and not prometheus and not services and not site and not attack"

ollama: setup-dev ## build the real Ollama for the tests, once, into a cache outside the checkout (needs Go)
	$(BIN)/python tests/tools/build_ollama.py

cluster: setup-dev ## start a real Kubernetes with one node here, building it once (Linux, root, Go); says how to use it
	@$(BIN)/python -m tests.cluster up

cluster-down: setup-dev ## end it; nothing of it stays
	@$(BIN)/python -m tests.cluster down

cluster-tools: setup-dev ## build what it is made of, once, into a cache outside the checkout, and start nothing
	$(BIN)/python -m tests.cluster images
	$(BIN)/python tests/tools/build_go.py helm3 helm4 registry

e2e: ollama cluster-tools ## run the tests that need a real Ollama, cluster, Prometheus, PostgreSQL, Redis or Chromium (Linux, root, Go)
	$(E2E) tests/kubernetes
	@$(MAKE) --no-print-directory --jobs=2 e2e-release e2e-beside

E2E := $(BIN)/python -m pytest -m "ollama or cluster or prometheus or services or site or attack"

# First what is timed, by itself; then both of these at once, since a release waits for Kubernetes most of the time.
e2e-release: setup-dev
	$(E2E) tests/release

e2e-beside: setup-dev
	$(E2E) --ignore=tests/kubernetes --ignore=tests/release tests

image: setup-dev ## build the container image into build/; BASE=, IMAGE=, TAG= and BUILDER=docker|podman|buildah may be given
	$(BIN)/python -m tools.image $(if $(BASE),--base '$(BASE)') $(if $(IMAGE),--name '$(IMAGE)') $(if $(TAG),--tag '$(TAG)') $(if $(BUILDER),--builder '$(BUILDER)')

docs: setup-dev ## build the docs as a site into build/site with its search and check its links (Debian's jekyll, nodejs)
	$(BIN)/python -m tools.docs_site

check: format lint types contracts lock-check ## format, lint, types, import contracts, locks

format: setup-dev
	$(BIN)/ruff format --check .

lint: setup-dev
	$(BIN)/ruff check .

types: setup-dev
	$(BIN)/mypy

contracts: setup-dev
	$(BIN)/lint-imports

lock-check: setup-dev ## every locked package has a wheel for Python 3.11 to 3.14
	$(BIN)/python tools/check_wheels.py requirements/runtime.txt requirements/pip.txt

bench: setup-dev ## measure against nginx, as users install it (no test packages); writes a table to bench/results/
	$(MAKE) --no-print-directory setup VENV=build/venv
	$(BIN)/python -m bench --gateway build/venv

simulate: setup-dev ## compare ways to balance in simulated worlds; writes a table and pictures; ARGS="--worlds C --seeds 3" and others
	$(BIN)/python -m bench.simulate $(or $(ARGS),--save simulation)

reality: ollama ## compare over processes: three real Ollamas, and simulated ones beside what the simulation predicts
	$(BIN)/python -m bench.reality

generate: setup-dev ## write the generated files anew: JSON Schemas, reference page, the chart's table of values, pictures
	$(BIN)/python -m ai_gateway.config.schema > config.schema.json
	$(BIN)/python -m tools.docs_tables
	$(BIN)/python -m tools.pictures
	$(BIN)/python -m tools.chart

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url

lock: setup-dev ## write the locks anew from pyproject.toml
	$(COMPILE) --group build -o requirements/build.txt
	$(COMPILE) pyproject.toml -o requirements/runtime.txt
	$(COMPILE) pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt
	$(COMPILE) requirements/client.in -c requirements/dev.txt -o requirements/client.txt
	$(COMPILE) requirements/pip.in -o requirements/pip.txt
	$(COMPILE) requirements/sbom.in -o requirements/sbom.txt

clean: ## remove what was set up here; the cache of built tools stays
	rm -rf $(VENV) build src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
