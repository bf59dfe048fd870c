# make demo   build a small dataset, segment it, print where the report is
# make test   unit tests on phantoms and one whole run; under 10 minutes on 2 cores
# make lint   ruff
# make docs   the manual, docs/_build/html/index.html

PYTHON ?= python3
SHELL := /bin/bash

# An active environment is used as it is; otherwise one is made here.
VENV ?= $(if $(VIRTUAL_ENV),$(VIRTUAL_ENV),$(CURDIR)/.venv)
PY := $(VENV)/bin/python
METADATA := setup.cfg pyproject.toml

DEMO ?= demo
DEMO_OPTIONS ?=

.PHONY: help demo test lint docs clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

$(PY):
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else \
	  "Python 3.11, 3.12 or 3.13 is needed, %s is %d.%d. Name another: make PYTHON=python3.12 ..." % (sys.executable, *v))'
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of extras, renewed when the metadata changes: a second run installs nothing.
$(VENV)/.bids_brainseg-demo: $(METADATA) | $(PY)
	$(PY) -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.bids_brainseg-%: $(METADATA) | $(PY)
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(VENV)/.bids_brainseg-lint: setup.cfg | $(PY)
	$(PY) -m pip install --quiet --disable-pip-version-check "$$(sed -n 's/^ *\(ruff .*\)/\1/p' setup.cfg)"
	@touch $@

demo: $(VENV)/.bids_brainseg-demo
	@$(PY) -m bids_brainseg.demo $(DEMO) $(DEMO_OPTIONS)

MARKS ?= not slurm and not container and not gpu and not stress
# One process for each core; the tests of a file stay together, since many share what one of them made.
PYTEST_OPTIONS ?= --numprocesses auto --dist loadfile

test: $(VENV)/.bids_brainseg-test
	$(PY) -m pytest -m '$(MARKS)' $(PYTEST_OPTIONS)

lint: $(VENV)/.bids_brainseg-lint
	$(VENV)/bin/ruff check .

docs: $(VENV)/.bids_brainseg-docs
	$(VENV)/bin/sphinx-build -W --keep-going -b html docs docs/_build/html
	@echo "Manual: file://$(CURDIR)/docs/_build/html/index.html"

clean:
	rm -rf build dist docs/_build *.egg-info .pytest_cache .ruff_cache $(DEMO)
