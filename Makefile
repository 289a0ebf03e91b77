# Tailorbird. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test check form types quick-api quick-service quick-rooms bench demo install browser format clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

run: install ## install what is missing, start everything, print the addresses (Ctrl-C ends all)
	@exec $(BIN)/tailorbird run

demo: install ## play the whole loop on the sample, told step by step (starts the service when it is not running)
	@exec $(BIN)/tailorbird demo

test: ## every test: the real engine, a real training job and a real browser included
	@$(MAKE) --no-print-directory -j 2 install browser
	@$(BIN)/tailorbird prepare
	@OMP_NUM_THREADS=$$(( ($$(nproc) + 1) / 2 )) $(BIN)/python -m pytest -n 3 --no-loadscope-reorder --durations=15

check: install ## format, lint, types, layers and the quick tests
	@$(MAKE) --no-print-directory -k -j 4 -O quick-service quick-api quick-rooms types form

form:
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports --no-cache 2>&1 | tail -n 12; exit $${PIPESTATUS[0]}

types:
	@$(BIN)/pyrefly check

# Three processes of about one length, not workers that each import everything. Folders are named, not files: pytest
# reads each file that it is given by name, also one of heavy tests alone.
API := tests/service/api
WITH_ROOMS := $(addprefix tests/service/,contract engine intake)
QUICK = @$(BIN)/python -m pytest -q -m "not heavy"

quick-api:
	$(QUICK) $(API)

quick-service:
	$(QUICK) tests/service $(addprefix --ignore=,$(API) $(WITH_ROOMS))

quick-rooms:
	$(QUICK) tests/ui tests/evals tests/training tests/bench tests/test_*.py $(WITH_ROOMS)

bench: install ## measure, side by side in one run
	@exec $(BIN)/python -m tests.bench

install: ## create the environment and install the pinned packages
	@PYTHON="$(PYTHON)" ./install.sh $(VENV)

browser: ## install Chromium for the browser tests, where there is none
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || ./install.sh --browser

format: install ## put the code in its form
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .

clean: ## remove the environment; what the service keeps (var/) stays
	rm -rf $(VENV)
