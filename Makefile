# Needs Python 3.11 or newer, git and make; everything is installed into .venv.
#   PYTHON     the interpreter that .venv is made with
#   PIP_ARGS   handed to pip as it is: an index, a proxy, a version such as torch==2.13.0
PYTHON ?= python3
PIP_ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The release that the tests run with, where torch's own index has a build without CUDA.
CPU_TORCH := torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
export DAGSTER_DISABLE_TELEMETRY = 1

.PHONY: demo test check lint definitions bench wheel

demo: .venv/.installed
	@$(BIN)/flywheel demo

test: .venv/.installed
	@$(BIN)/python -m pytest

check: lint test definitions

lint: .venv/.installed
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

definitions: .venv/.installed
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/dg check defs

bench: .venv/.installed
	@set -e; for bench in $(notdir $(basename $(wildcard tests/bench/bench_*.py))); do \
		$(BIN)/python -m tests.bench.$$bench; done

wheel: .venv/.installed
	@$(BIN)/python -m build --wheel

# The package index's torch for Linux brings gigabytes of CUDA; where there is no GPU, and PIP_ARGS
# says nothing else, the CPU build is tried first.
.venv/.installed: pyproject.toml
	@echo "Installing into .venv; the first time takes some minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@if [ -z "$(PIP_ARGS)" ] && [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then \
		$(PIP) --retries 1 --timeout 15 $(CPU_TORCH) 2>/dev/null \
		|| echo "No CPU build of torch was reached; taking the package index's, of some gigabytes."; fi
	@$(PIP) --editable '.[dev]' $(PIP_ARGS)
	@touch $@
