# Everything needed is installed into .venv; PYTHON names the interpreter it is made from.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test bench format clean

demo: .venv/demo ## a model learns from its own talks and is compared with what it was; says where the report lies
	$(BIN)/duologue demo

test: .venv/test ## lint, types, the star of imports, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

bench: .venv/test ## speeds and accuracies as a table
	$(BIN)/python -m benchmarks

format: .venv/test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv runs

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("duologue needs Python 3.11 or newer; try make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/demo: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[offline,model,pairs]'
	touch $@

.venv/test: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[test]'
	touch $@
