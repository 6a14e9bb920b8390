# Everything runs in $(VENV), which the first target that needs it creates.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin
EXTRAS = myosuite,envs,ray,study,export,docs,dev

# What `make train` and `make compare` run; change it on the command line: make train ENV=myoLegWalk-v0 SEED=1
ENV ?= myoHandPenTwirlRandom-v0
train: STEPS ?= 150000
compare: STEPS ?= 60000
SEED ?= 0
LOGS ?= logs

.PHONY: install lint types test test-slow test-cuda docs dist release-check wheel-check train compare speed study chain

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
	$(BIN)/lint-imports

types: install
	$(BIN)/mypy

# One torch thread per worker: two workers with two threads each would contend for two cores.
test: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

test-slow: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q -m slow

# On a machine with a card: what the CPU's tests cannot see, and a table of its speed; under five minutes.
test-cuda: install
	$(BIN)/python -m pytest -q -m cuda
	$(BIN)/sb3-qflex speed --device cuda --quick --out $(LOGS)/speed

# The site, in docs/_build/html; a warning is an error.
docs: install
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

# sdist and wheel, in dist/.
dist: install
	rm -rf build dist
	$(BIN)/python -m build

# One source of the version, the changelog and the upgrade notes that belong to it, and artefacts that PyPI takes.
release-check: dist
	$(BIN)/python tests/project/release.py dist
	$(BIN)/twine check --strict dist/*

# The fast tests against the installed wheel, in a new environment and without the repository.
wheel-check: dist
	PYTHON=$(BIN)/python sh tests/project/wheel_check.sh

# The stock RL Zoo commands, by the recipe for one core (docs/tuning.md), whose file has a `default` for ids without an
# entry. One thread: its networks are too small for two, which wait for each other as soon as anything else runs.
train: install
	OMP_NUM_THREADS=1 $(BIN)/rl_zoo3 train --algo qflex --env $(ENV) -n $(STEPS) --seed $(SEED) -f $(LOGS) -P \
		-conf hyperparams/fast/qflex.yml --num-threads 1 --eval-freq $$(( $(STEPS) / 10 )) --eval-episodes 20 \
		--log-interval 200
	$(BIN)/sb3-qflex evaluate "$$(ls -td $(LOGS)/qflex/$(ENV)_* | head -n 1)"
	$(BIN)/sb3-qflex curve "$$(ls -td $(LOGS)/qflex/$(ENV)_* | head -n 1)"

compare: install
	$(BIN)/sb3-qflex compare --env $(ENV) --steps $(STEPS) --seed $(SEED) -f $(LOGS)

# Tables and figures of the speed of this machine, in docs/speed; half an hour. A short form: --quick.
speed: install
	$(BIN)/sb3-qflex speed --out docs/speed

# Runs of a study (make study STUDY=pen) and its report; the same command goes on after it was stopped.
STUDY ?= quick
study: install
	$(BIN)/sb3-qflex study run $(STUDY)
	$(BIN)/sb3-qflex study report $(STUDY) --runs runs/$(STUDY) --out runs/$(STUDY)/report

# QFlex, CrossQ and SAC on PlanarChain with 100 links: table and figure in runs/chain100/report after some minutes.
chain:
	$(MAKE) study STUDY=chain100
