# `make demo` and `make test` do all the set-up: both install into .venv first, once.
# `make test` is for each commit, `make test-slow` is the rest, `make test-all` is both.
PYTHON ?= python3
TASK ?= maskrcnn
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-slow test-all coverage zoo upstream lint clean

demo: $(INSTALLED)
	$(RUN) tools/demo.py --task $(TASK)

# One thread each: workers that share threads wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses auto --maxprocesses 4

test: $(INSTALLED)
	$(PYTEST) -m 'not slow'

test-slow: $(INSTALLED)
	$(PYTEST) -m slow

test-all: $(INSTALLED)
	$(PYTEST)

# Of what `make test` runs, in this process and its workers: processes that tests start do not count.
coverage: $(INSTALLED)
	$(PYTEST) -m 'not slow' --cov=glmix_mm --cov-branch

# Each kind of model of the libraries, and the libraries' own tests: docs/zoo.md.
zoo: $(INSTALLED)
	OMP_NUM_THREADS=1 $(RUN) tests/zoo/zoo.py $(ZOO)
	$(RUN) tests/zoo/zoo_page.py

upstream: $(INSTALLED)
	$(RUN) tests/zoo/upstream.py $(SRC) $(ONLY)

lint: $(INSTALLED)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/lint-imports --no-logo
	$(RUN) tests/docs/prose.py

$(INSTALLED): setup.py pyproject.toml $(wildcard requirements/*.txt)
	@echo "Installing into $(VENV): torch and the OpenMMLab packages, about 6 GB and 2 minutes."
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("glmix_mm needs Python 3.10 or newer; name one with: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint requirements/constraints.txt --editable '.[lite,app,tests,docs]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
