# Everything runs in $(VENV), which the first target that needs it creates.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin
EXTRAS = myosuite,dev

.PHONY: install lint types test test-slow

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.dependencies: setup.py constraints.txt | $(BIN)/python
	$(BIN)/pip install -q -c constraints.txt torch ".[$(EXTRAS)]"
	touch $@

install: $(VENV)/.dependencies
	$(BIN)/pip install -q --no-deps --force-reinstall .

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

# One torch thread per worker: two workers with two threads each would contend for two cores.
test: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

test-slow: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q -m slow
