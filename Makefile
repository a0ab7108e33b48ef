# Two targets do all the set-up: `make train` runs the main job, `make test` every test.
PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
BACKENDS := jax tensorflow torch

.PHONY: train test test-fast lint format docs bench clean

train: .venv/installed
	$(BIN)/adamkit train

# Every stage runs, also after one that fails; the last line says which did.
test: .venv/installed-test
	@failed=""; \
	for backend in $(BACKENDS); do \
	    test $$backend = jax && tests=tests || tests=tests/keras; \
	    echo "KERAS_BACKEND=$$backend pytest $$tests"; \
	    KERAS_BACKEND=$$backend $(BIN)/python -m pytest -n 2 $$tests || failed="$$failed $$backend"; \
	done; \
	if test -n "$$failed"; then echo "make test: failed on:$$failed"; exit 1; fi; \
	echo "make test: passed on: $(BACKENDS)"

test-fast: .venv/installed-test
	$(BIN)/python -m pytest -n 2 -m "not slow"

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
