# Everything is kept inside the checkout: .tools (uv), .venv (the locked environment), .models (models that run here).
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
PY := .venv/bin/python
export UV_PYTHON_DOWNLOADS ?= never
export BASCULE_MODELS_DIR ?= $(CURDIR)/.models
ARGS ?=
# Test processes side by side.
WORKERS ?= 2

.PHONY: help setup demo soak test test-full audit check audit-deps sbom mutants bench docs lock clean peer peer-pii clients
help: ## List the targets.
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check uv

.venv/.ready: requirements.lock pyproject.toml | $(if $(findstring .tools,$(UV)),.tools/bin/uv)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip install --quiet --compile-bytecode --python $(PY) --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(PY) --no-deps --editable .
	$(PY) -m compileall -q src || true # commands start in half the time, also where the environment forbids to write these later
	@touch $@

setup: .venv/.ready ## Make the locked environment in .venv.

demo: setup ## The main job on real input; ARGS=--once exits at the end.
	.venv/bin/bascule models pull
	.venv/bin/bascule demo $(ARGS)

test: setup clients ## All tests, the long suites in their short seeded forms.
	.venv/bin/bascule models pull --quiet || true
	.venv/bin/bascule models pull rampart --quiet || true
	$(PY) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-full: setup clients ## All tests at the promised counts.
	.venv/bin/bascule models pull --quiet || true
	.venv/bin/bascule models pull rampart --quiet || true
	BASCULE_TEST_FULL=1 $(PY) -m pytest --timeout 1800 -n $(WORKERS) --dist worksteal $(ARGS)

audit: setup clients ## The leak audit with planted bugs, the route matrix and the fault scenarios.
	BASCULE_TEST_FULL=1 $(PY) -m pytest --timeout 1800 -n $(WORKERS) --dist worksteal tests/e2e/test_leak_audit.py tests/e2e/test_leaks.py $(ARGS)
	$(PY) -m pytest --timeout 600 -n $(WORKERS) --dist worksteal tests/faults tests/e2e/test_route_matrix.py tests/e2e/test_signed_tokens.py $(ARGS)

check: setup ## Lint, types, architecture, docs, generated files.
	.venv/bin/ruff check src tests bench
	.venv/bin/ruff format --check src tests bench
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PY) -m tests.docs_check
	$(PY) -m tests.supply.licences

audit-deps: .venv-audit/.ready ## Known weaknesses of every locked package; says NOT CHECKED and fails where it cannot ask.
	.venv-audit/bin/python -m tests.supply.audit_deps requirements.lock requirements-run.lock

sbom: ## What Bascule is made of, as CycloneDX, in out/sbom.cdx.json; the image carries its own.
	mkdir -p out
	$(PYTHON) deploy/sbom.py requirements-run.lock > out/sbom.cdx.json

mutants: .venv-mutants/.ready ## Change the code that decides rights in every small way: does a test notice each?
	.venv-mutants/bin/mutmut run --max-children $(WORKERS)
	.venv-mutants/bin/python -m tests.mutants.survivors

.venv-audit/.ready: tests/supply/audit.lock | $(if $(findstring .tools,$(UV)),.tools/bin/uv)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv-audit
	$(UV) pip install --quiet --python .venv-audit/bin/python --require-hashes -r $<
	@touch $@

.venv-mutants/.ready: tests/mutants/mutants.lock requirements.lock | $(if $(findstring .tools,$(UV)),.tools/bin/uv)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv-mutants
	$(UV) pip install --quiet --python .venv-mutants/bin/python --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python .venv-mutants/bin/python --require-hashes -r $<
	@touch $@

docs: setup ## Write the generated reference pages.
	$(PY) -m tests.docs_check --write

bench: setup ## Every benchmark; make bench-NAME runs one, ARGS="--json FILE" writes rows.
	for b in bench/bench_*.py; do $(PY) $$b $(ARGS); done

soak: setup ## Every kind of call for 20 minutes (ARGS="--seconds 60"): is memory flat?
	$(PY) bench/soak.py $(ARGS)

bench-%: setup
	$(PY) bench/bench_$*.py $(ARGS)

peer: | $(if $(findstring .tools,$(UV)),.tools/bin/uv) ## Install the gateway that bench-gateway measures beside ours.
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv-peer
	$(UV) pip install --quiet --python .venv-peer/bin/python --require-hashes -r bench/peer.lock

peer-pii: | $(if $(findstring .tools,$(UV)),.tools/bin/uv) ## Install Presidio and spaCy's small model, which bench-pii measures beside ours.
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv-peer-pii
	$(UV) pip install --quiet --python .venv-peer-pii/bin/python --require-hashes -r bench/pii.lock

.venv-clients/.ready: tests/clients/clients.lock | $(if $(findstring .tools,$(UV)),.tools/bin/uv)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv-clients
	$(UV) pip install --quiet --compile-bytecode --python .venv-clients/bin/python --require-hashes -r tests/clients/clients.lock
	@touch $@

clients: .venv-clients/.ready ## Install the client frameworks that the tests drive, in an environment of their own.

lock: | $(if $(findstring .tools,$(UV)),.tools/bin/uv) ## Lock every dependency with hashes; names no host.
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 \
	  --custom-compile-command "make lock" --all-extras --group dev pyproject.toml -o requirements.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 \
	  --custom-compile-command "make lock" --extra postgres --extra valkey --extra bedrock --extra bucket --extra vertex --extra otel --extra oidc --extra seal --extra tokens --constraint requirements.lock pyproject.toml -o requirements-run.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 \
	  --custom-compile-command "make lock" --constraint requirements.lock deploy/docker/build.in -o deploy/docker/build.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 \
	  --custom-compile-command "make lock" tests/clients/clients.in -o tests/clients/clients.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 \
	  --custom-compile-command "make lock" bench/peer.in -o bench/peer.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 \
	  --custom-compile-command "make lock" tests/supply/audit.in -o tests/supply/audit.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 \
	  --custom-compile-command "make lock" --constraint requirements.lock tests/mutants/mutants.in -o tests/mutants/mutants.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 \
	  --custom-compile-command "make lock" bench/pii.in -o bench/pii.lock

clean: ## Remove what make made.
	rm -rf .venv .venv-audit .venv-mutants mutants .tools .models .demo out dist build
