# Needs a Python of 3.11 or later and pip; the first target that needs packages makes .venv.
PYTHON ?= python3
PORT ?= 8800
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help demo serve docs docs-check test coverage check lint types typed layers bench chaos \
	matrix matrix-ready clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1|/p' Makefile | while IFS='|' read -r name text; do \
		printf '%-10s %s\n' "$$name" "$$text"; done

$(STAMP): setup.cfg pyproject.toml .ci/venv
	@PYTHON="$(PYTHON)" sh .ci/venv
	@touch $@

demo: $(STAMP) ## show a durable run in the terminal
	@$(BIN)/python example_project/manage.py demo

serve: $(STAMP) ## the same with the pages of the shop and the admin
	@$(BIN)/python example_project/manage.py demo --serve

docs: docs-check ## build the documentation and serve it (PORT=8800)
	@$(BIN)/python -u -m http.server $(PORT) --bind 127.0.0.1 --directory build/docs

docs-check: $(STAMP) ## build the documentation; a warning or a link into nothing is an error
	@$(BIN)/sphinx-build -q -E -W --keep-going -d build/doctrees docs build/docs

test: $(STAMP) ## run every test, several at a time; unreachable services are named (ARGS=..., -n0: one)
	@$(BIN)/pytest -n auto $(ARGS)

coverage: $(STAMP) ## run every test and measure what they reach; less than 95 % is an error (ARGS=...)
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n auto $(ARGS)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report

check: lint types docs-check typed layers ## lint, format, types, import layers and documentation

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)
	@$(BIN)/mypy

typed: $(STAMP)
	@$(BIN)/basedpyright --project tests/typed --pythonpath $(BIN)/python

layers: $(STAMP)
	@$(BIN)/lint-imports

bench: $(STAMP) ## measure against a raw loop (PEERS=1: and against other libraries)
	@$(BIN)/python tests/bench/run.py $(if $(PEERS),--peers)

chaos: $(STAMP) ## the long form of the tests that kill processes and services
	@CHAOS=long $(BIN)/pytest tests/chaos $(ARGS)

matrix: $(STAMP) ## the tests on every supported Python, Django and Celery (FLOOR=1: the oldest, the fast tests)
	@FLOOR="$(FLOOR)" bash .ci/matrix

matrix-ready: $(STAMP)
	@FLOOR="$(FLOOR)" bash .ci/matrix --notest

clean: ## remove everything that was made here
	@rm -rf .venv .tox build dist htmlcov .coverage .coverage.* *.egg-info \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache \
		example_project/.trigger
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
