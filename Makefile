# `make demo` and `make test` set up what they need in .venv. PYTHON chooses the interpreter, 3.10 or newer.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo demo-clip test test-all lint clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/demo  ## fine-tune SAM on generated polyps, on the CPU, with nothing to download
	$(BIN)/python main.py fit --config configs/sam_polyp.yaml --config configs/embedded/sam_polyp.yaml

demo-clip: .venv/demo  ## fine-tune a tiny CLIP on digits, likewise
	$(BIN)/python main.py fit --config configs/clip_food101.yaml --config configs/embedded/clip_digits.yaml

test: .venv/dev  ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

test-all: .venv/dev  ## run the tests on every adapter and network, where test takes some
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ""

lint: .venv/dev  ## check style and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

clean:  ## remove the environment
	rm -rf .venv

.venv/demo: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Graft needs Python 3.10 or newer: make PYTHON=python3.11") if sys.version_info < (3, 10) else 0'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -e '.[lite]'
	@touch $@

.venv/dev: .venv/demo
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@
