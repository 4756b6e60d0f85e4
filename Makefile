# Every target sets up .venv by itself and reinstalls only when pyproject.toml or constraints.txt change.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt
TORCH := $(shell grep '^torch==' constraints.txt)
SLOW_TIER_S ?= 2000

.PHONY: demo test test-slow lint docs clean
.DELETE_ON_ERROR:

demo: .venv/.core
	$(BIN)/seedbed demo

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: .venv/.dev
	$(BIN)/python -m pytest

test-slow: .venv/.dev
	$(BIN)/python -m pytest -m slow --timeout 900 --session-timeout $(SLOW_TIER_S)

# The reference of every public function and class, from their docstrings.
docs: .venv/.dev
	$(BIN)/python docs/build_reference.py build/reference

# torch first and by its exact pin, so that no range of another package can choose a build of several GB.
.venv/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'installing into .venv (once; a few minutes)'
	@$(PIP) $(TORCH)
	@$(PIP) --editable .
	@touch $@

.venv/.dev: .venv/.core
	@$(PIP) --editable '.[dev]'
	@touch $@

clean:
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist build
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
