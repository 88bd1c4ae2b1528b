# Everything a person or a CI machine types. Each target makes the machine ready first, which is quick when it is.

NODE = node-003
ROLE = worker
BASE = debian-trixie
BIN = .venv/bin
KINDS = cluster node base guest
FAST = not disk and not boot and not soak
TWO = -n 2 --dist worksteal
LOCK = $(BIN)/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --extra build
SHELL_SCRIPTS = $$(grep -rIlE --exclude='*.j2' --exclude-dir=__pycache__ --exclude-dir=golden '^\#!/bin/(ba)?sh|shellcheck shell=' \
	.ci builder overlays tests)

.PHONY: help setup image boot lint test test-fast soak bench golden reference requirements clean

help: ## this list
	@awk -F ' *## ' '/^[a-z-]+:.*##/ { sub(/:.*/, "", $$1); printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing: Debian packages, .venv, the nodes' ssh key
	@builder/setup/setup.sh

image: setup ## build the image of NODE (node-003) on BASE (debian-trixie); without a file in profiles/nodes/ it is a ROLE (worker)
	$(BIN)/pimu-build $(NODE) --base $(BASE) $(if $(wildcard profiles/nodes/$(NODE).yaml),,--role $(ROLE))

boot: setup ## open the console of NODE's image on an emulated Pi
	$(BIN)/pimu-build boot output/$(NODE).img

lint: setup ## ruff, mypy, shellcheck
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	shellcheck $(SHELL_SCRIPTS)

test: lint ## lint and every test but the long ones; boots the image
	$(BIN)/pytest $(TWO) -m "not soak"

test-fast: setup ## the tests that need no disk, root or QEMU
	$(BIN)/pytest -q $(TWO) -m "$(FAST)"

soak: setup ## the long tests
	$(BIN)/pytest $(TWO) -m soak

bench: ## measure, and print the table of README
	@builder/setup/setup.sh bench
	$(BIN)/python -m tests.bench

golden: setup ## write tests/golden/ anew; read the difference before you keep it
	$(BIN)/pytest -q -m "$(FAST)" --renew-golden

reference: setup ## write docs/reference.md and docs/schema/ anew, from the models of the keys
	$(BIN)/pimu-build explain --markdown >docs/reference.md
	for kind in $(KINDS); do $(BIN)/pimu-build explain --json-schema $$kind >docs/schema/$$kind.json || exit; done

requirements: ## lock the Python packages anew, with hashes, as pyproject.toml asks for them
	$(LOCK) --output-file builder/setup/requirements.txt
	$(LOCK) --extra dev --output-file builder/setup/requirements-dev.txt

clean: ## remove images and what the checkers keep; the cache stays (pimu-build cache prune)
	find output -mindepth 1 ! -name .gitignore -delete
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
