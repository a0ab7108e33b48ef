# Two targets do all the set-up: `make train` runs the main job, `make test` every test.
PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST = $(BIN)/python -m pytest

.PHONY: train test chromium test-fast lint format docs bench clean

train: .venv/installed
	$(BIN)/adamkit train

# Every stage runs, also after one that fails; the last line says which did. Worksteal keeps the tests of a file, which
# share what they compile, on one worker until another has nothing left. Three workers, since tests also wait. The other
# two stages run beside the first, one after the other; their output is shown when they are done.
test: .venv/installed-test chromium
	@folder=$$(mktemp -d) || exit; trap 'trap - INT TERM; rm -r $$folder; kill 0' INT TERM; \
	stage() { \
	    backend=$$1; shift; echo "KERAS_BACKEND=$$backend pytest $$*"; \
	    KERAS_BACKEND=$$backend $(PYTEST) "$$@" && touch $$folder/$$backend; \
	}; \
	{ stage tensorflow tests/keras; stage torch tests/keras; } > $$folder/output 2>&1 & \
	stage jax tests -n 3 --dist worksteal; \
	wait; cat $$folder/output; failed=""; \
	for backend in jax tensorflow torch; do test -e $$folder/$$backend || failed="$$failed $$backend"; done; \
	rm -r $$folder; \
	if test -n "$$failed"; then echo "make test: failed on:$$failed"; exit 1; fi; \
	echo "make test: passed on: jax tensorflow torch"

# The browser for the tests of reports' pages: installed where that may be done, else they are skipped.
chromium:
	@test -x /usr/bin/chromium || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || { \
	    export DEBIAN_FRONTEND=noninteractive; \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	} || echo "make: Chromium could not be installed; the tests that need it are skipped"

test-fast: .venv/installed-test
	$(PYTEST) -n 2 --dist worksteal -m "not slow"

lint: .venv/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: .venv/installed-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/installed-docs
	$(BIN)/mkdocs build --strict

bench: .venv/installed-bench
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis site dist runs
	find . -name __pycache__ -prune -exec rm -rf {} +

# One virtual environment; each extra is added to it when a target first needs it.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP_INSTALL) --editable .
	touch $@

.venv/installed-%: .venv/installed
	$(PIP_INSTALL) --editable '.[$*]'
	touch $@
