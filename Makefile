# The two commands of the README are `make demo` and `make test`; both set up whatever is missing.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PY := $(VENV)/bin/python
# Two cores: numpy's own threads would only fight with the processes of the house.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: demo test browser viewer clients setup setup-dev lint imports types migrations bench screens clean

demo: setup viewer
	@exec $(PY) manage.py demo $(if $(ONCE),--once) $(if $(STUDY),--study "$(STUDY)")

# Two cores, and two processes more for the times that the others wait: half of a test is waiting for a server, a lease, a peer.
test: setup-dev viewer lint imports types migrations
	@$(PY) -m pytest -q -n 4 --dist loadgroup -m "not browser and not load and not faults and not heavy and not brain and not openapi" $(PYTEST)

browser: setup-dev viewer
	@$(PY) -m pytest -q -n 2 --dist loadgroup -m browser $(PYTEST)

setup: $(VENV)/.runtime
setup-dev: $(VENV)/.dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed; name it with PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/.runtime: requirements.txt | $(VENV)/bin/python
	@echo "installing the pinned requirements (about a minute, once)"
	@$(PY) -m pip install -q --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt | $(VENV)/bin/python
	@echo "installing the pinned requirements and the tools of the tests (about a minute, once)"
	@$(PY) -m pip install -q --disable-pip-version-check -r requirements-dev.txt
	@touch $(VENV)/.runtime $@

viewer: setup
	@MEDHUB_DB_NAME=none MEDHUB_VIEWER=$(CURDIR)/.medhub/viewer $(PY) -W ignore manage.py viewer_install $(VIEWER)

# FHIR clients and judges from npm that the tests run where they are installed; the lock names every byte of them.
clients: tests/clients/node_modules/.package-lock.json

tests/clients/node_modules/.package-lock.json: tests/clients/package-lock.json
	@cd tests/clients && npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@

lint:
	@$(PY) -m ruff check .

imports:
	@$(VENV)/bin/lint-imports --no-logo

types:
	@$(PY) -m mypy

migrations:
	@MEDHUB_DB_NAME=none $(PY) -W ignore manage.py makemigrations --check --dry-run

bench: setup-dev
	@$(PY) -m bench

screens: setup-dev
	@$(PY) -m pytest -q tests/browser/screens.py

clean:
	@if [ -x $(PY) ]; then $(PY) -m medhub.embedded remove; fi
	@rm -rf .medhub .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
