# Two commands on a fresh machine with Python 3.11+ and make: `make run` and `make test`.
.DEFAULT_GOAL := help
.PHONY: help run test check prove screenshots
SHELL := /bin/sh

BIN := .venv/bin
# The first of these that is Python 3.11 or newer and can make a venv; choose another with `make run PYTHON=/path/to/python`.
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11 python
TEST_WORKERS ?= 2

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

run: .venv/.run ## start the whole product with a sample company on http://127.0.0.1:8000
	@exec $(BIN)/copilot demo

test: .venv/.dev ## install what the tests need and run them all
	@sh bench/chromium.sh
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadgroup $(TEST_ARGS)

check: .venv/.dev ## format, lint, types and imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

prove: .venv/.dev ## measure every figure the product claims into docs/figures.json
	$(BIN)/python bench/prove.py

screenshots: .venv/.dev ## take the README's pictures from a `make run` that runs beside it
	@$(BIN)/python bench/screenshots.py --base-url http://127.0.0.1:$(or $(PORT),8000)

# Stamps: a second start installs nothing. `dev` holds everything `run` does, so it also satisfies `run`.
.venv/.run: pyproject.toml constraints.txt
	@sh bench/install.sh "$(PYTHON)" "$(PYTHONS)" .
	@touch $@

.venv/.dev: pyproject.toml constraints.txt
	@sh bench/install.sh "$(PYTHON)" "$(PYTHONS)" '.[dev]'
	@touch $@ .venv/.run
