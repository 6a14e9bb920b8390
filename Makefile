# Everything runs in $(VENV), which the first target that needs it creates.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin
EXTRAS = myosuite,envs,ray,study,export,docs,dev

# What `make train` and `make compare` run; change it on the command line: make train ENV=myoLegWalk-v0 SEED=1
ENV ?= myoHandPenTwirlRandom-v0
train: STEPS ?= 80000
compare: STEPS ?= 60000
SEED ?= 0
LOGS ?= logs

.PHONY: install lint types test test-slow docs dist release-check wheel-check train compare speed study chain
