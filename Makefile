# `make run` and `make test` work from a fresh clone: each sets up first. `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup run test check bench faults soak fuzz

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

setup: .venv/ready ## virtual environment with everything pinned

.venv/ready: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

run: setup ## serve on port 8000, with an embedded S3 when none is configured
	$(BIN)/python server.py

test: setup ## all tests
	$(BIN)/python -m pytest -n auto --dist loadfile

check: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup ## what it costs, beside nginx and others (bench/README.md)
	$(BIN)/python -m bench

faults: setup ## every fault we can think of, and what becomes of it
	$(BIN)/python -m tests.faults

soak: setup ## mixed traffic and random faults for MINUTES (10)
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),10)

fuzz: setup ## coverage-guided fuzzing of every parser for SECONDS (60) each
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-fuzz.txt
	for target in form form_type path file_name byte_range conditions digests; do \
		$(BIN)/python -m tests.fuzz $$target $(or $(SECONDS),60) || exit 1; done
