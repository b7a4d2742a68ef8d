# Everything happens in .venv, which the first command makes. PYTHON=... picks another Python.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: demo test browser torture bench clean

demo: .venv/installed  ## Learn the Constitution of the United States in under a minute
	$(BIN)/charloom train corpus:us-constitution --minutes 0.5

test: .venv/installed-test  ## Format, lint, types and all tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest -n 2

browser:  ## Debian's chromium, for the tests that look at pages (as root)
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends chromium

torture: .venv/installed-test  ## Faults by the thousand, for most of an hour; prints a table
	$(BIN)/pytest tests/reliability tests/test_fine_tuning.py tests/test_replay.py --full -n 2 --dist worksteal

bench: .venv/installed  ## Speed beside PyTorch, the reference engine and plain Python
	$(BIN)/python benchmarks/run.py

clean:  ## Remove the environment; runs/ stays
	rm -rf .venv

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(PIP) --editable .
	touch $@

.venv/installed-test: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --constraint constraints.txt --editable '.[torch,gpt2,onnx,report,analysis,tensorboard,test]'
	touch $@ .venv/installed
