# Every target works on a machine with Python 3.11+, git and make.
#   PYTHON=python3.12 make study     another interpreter for the environment
#   VENV=/path/to/env make test      an environment that is already there
PYTHON ?= python3
VENV ?= .venv
SWEEP ?= quick
SCALE ?= cpu
PAPERS ?= shulgin2023 maloney2022 bordelon2024 guo2024 choshen2024 xia2022
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install study paper papers test test-systems test-slow check docs format coverage bench shape dashboard tensorboard clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(VENV)/.installed-dev  ## the environment with the development tools

study: $(VENV)/.installed  ## the main job: corpus, training, laws, report (SWEEP=tiny for a minute's worth)
	$(BIN)/scaling-laws study configs/sweeps/$(SWEEP).yaml

paper: $(VENV)/.installed  ## Kaplan et al. 2020, every experiment: claims, figures, page (SCALE=smoke, cpu or gpu; again = go on)
	$(BIN)/scaling-laws paper kaplan2020 --scale $(SCALE)

papers: $(VENV)/.installed  ## the papers that need little or no training, at smoke scale: claims, figures, pages (minutes) -> lightning_logs/papers
	for name in $(PAPERS); do $(BIN)/scaling-laws paper $$name --scale smoke || exit 1; done

# With bytecode, whatever the shell says: every process of a test would compile the project again.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.installed-dev  ## the tests of the code, on all cores
	$(BIN)/python -m pytest -n auto --dist loadgroup

test-systems: $(VENV)/.installed-dev  ## the whole with what is outside it: browsers, wheels, documents, databases, SLURM, Ray
	$(BIN)/python -m pytest -n auto --dist loadgroup -m "systems and not slow"

test-slow: $(VENV)/.installed-dev  ## storms of kills and outages (half an hour or more; docs/log.md has the last date)
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.installed-dev  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-dev  ## the manual -> build/docs/index.html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

format: $(VENV)/.installed-dev  ## let ruff put things right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: $(VENV)/.installed  ## how often the 90 % intervals cover known truths (minutes) -> results/coverage
	$(BIN)/python benchmarks/coverage.py

bench: $(VENV)/.installed  ## fits, steps, growth, a study, beside what others do (an hour, quiet) -> results/bench
	$(BIN)/python benchmarks/fits.py
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/steps.py
	$(BIN)/python benchmarks/where_time_goes.py
	$(BIN)/python benchmarks/callbacks.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/study.py

shape: $(VENV)/.installed  ## which shape is best at one N: 52 trials -> lightning_logs/shape
	$(BIN)/scaling-laws sweep configs/sweeps/shape.yaml

dashboard: $(VENV)/.installed-dashboard  ## look at the trials of `make shape` on http://127.0.0.1:8080
	$(BIN)/optuna-dashboard --host 127.0.0.1 --port 8080 sqlite:///lightning_logs/shape/shape.sqlite3

tensorboard: $(VENV)/.installed  ## look at the runs in lightning_logs/
	$(BIN)/tensorboard --logdir lightning_logs

clean:  ## remove the environment and what builds made (runs and your own files stay)
	PYTHONPATH=src $(PYTHON) -m scaling_laws.data.clean data
	rm -rf build/lib build/bdist.* build/same_results build/docs docs/generated src/*.egg-info
	if [ -d build ]; then rmdir --ignore-fail-on-non-empty build; fi
	if [ -e $(VENV)/.made-by-make ] || [ $(VENV) = .venv ]; then rm -rf $(VENV); fi

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	@touch $(VENV)/.made-by-make

# A stamp a dependency list: an environment that is already there is left alone unless the lists changed.
$(VENV)/.installed: pyproject.toml setup.py constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml setup.py constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dashboard: pyproject.toml setup.py constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dashboard]'
	@touch $@ $(VENV)/.installed
