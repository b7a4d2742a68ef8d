# Everything happens in .venv, which the first command creates. PYTHON=... picks another Python.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: demo test browser torture bench docs pictures clean

demo: .venv/installed  ## Train on the Constitution of the United States in under a minute
	$(BIN)/charloom train corpus:us-constitution --minutes 0.5

# Whatever the environment says: else each process compiles charloom and its tests anew.
test torture: export PYTHONDONTWRITEBYTECODE =

test: .venv/installed-test  ## Check format, lint and types, and run all tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy & types=$$!; $(BIN)/pytest -n 2 --dist worksteal; tests=$$?; wait $$types && exit $$tests

browser:  ## Install Debian's chromium, for the tests of pages (as root)
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends chromium

torture: .venv/installed-test  ## Run all trials and 1000 examples a property, most of an hour; prints a table
	$(BIN)/pytest -m 'torture or reliability or hypothesis' --full -n 2 --dist worksteal

bench: .venv/installed  ## Measure speed against PyTorch, the reference engine and plain Python
	$(BIN)/python benchmarks/run.py

docs: .venv/installed-docs  ## Build the documents as a site: site/index.html
	$(BIN)/python docs/make.py
	$(BIN)/python docs/figures.py
	$(BIN)/zensical build --strict --clean --config-file mkdocs.yml

pictures: .venv/installed-test  ## Make the pictures of README and documents; needs chromium (make browser)
	$(BIN)/python docs/pictures.py

clean:  ## Remove the environment; runs/ stays
	rm -rf .venv

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(PIP) --no-compile --editable .
	touch $@

.venv/installed-docs: pyproject.toml | .venv/bin/python
	$(PIP) --no-compile --editable '.[docs]'
	touch $@ .venv/installed

.venv/installed-test: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --constraint constraints.txt --editable '.[torch,gpt2,subwords,onnx,report,analysis,tensorboard,text,pdf,parquet,keras,serve,write,docs,test]'
	touch $@ .venv/installed
