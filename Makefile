# `make compare` and `make test` set up what is missing and then run: nothing else is needed on a fresh machine.
# The first of these that is 3.12 or later; .python-version picks python3 where a version manager is at work.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12,$(shell $(p) -c 'import sys; sys.version_info >= (3, 12) and print("$(p)")' 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
# What runs Basin, and what its tests and benchmarks take besides.
BASE := $(VENV)/.base-$(shell cat requirements/base.lock requirements/build.lock 2>/dev/null | sha256sum | cut -c1-16)
STAMP := $(VENV)/.installed-$(shell sha256sum requirements/dev.lock 2>/dev/null | cut -c1-16)
DATASET ?= digits

.PHONY: compare test lint types layers tests rest-tests ray-tests soak notebooks lab bench lock clean help
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

compare: $(BASE)  ## install what is missing, then compare all learners on DATASET (digits)
	$(BIN)/basin compare $(DATASET) $(ARGS)

test: lint types layers tests  ## lint, types, layers and tests

# A phase says how long it took.
timed = @echo "$(1)"; start=$$(date +%s); $(1); status=$$?; echo "$@ took $$(($$(date +%s) - start)) s"; exit $$status

lint: $(STAMP)
	$(call timed,$(BIN)/ruff check . && $(BIN)/ruff format --check .)

types: $(STAMP)
	$(call timed,$(BIN)/basedpyright)

layers: $(STAMP)
	$(call timed,$(BIN)/lint-imports)

# What starts Ray has the machine to itself: beside the rest it would be Ray's patience that is tested. Both share a cache.
tests: $(STAMP)
ifdef ARGS
	$(BIN)/pytest $(ARGS)
else
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && export BASIN_TESTS_CACHE="$$folder" && \
	$(MAKE) --no-print-directory --keep-going rest-tests ray-tests
endif

rest-tests:
	$(call timed,$(BIN)/pytest --numprocesses 2 --max-worker-restart 0 --dist loadfile -m 'not ray and not soak')

ray-tests:
	$(call timed,$(BIN)/pytest -m 'ray and not soak')

soak: $(STAMP)  ## repeat at size what `make test` does small: coverage over many seeds, chaos; takes long
	$(BIN)/pytest -m soak $(ARGS)

notebooks: $(STAMP)  ## execute the notebooks, each from clean
	$(BIN)/pytest tests/notebooks

LAB := $(VENV)/.lab-$(shell sha256sum requirements/notebooks.lock 2>/dev/null | cut -c1-16)
lab: $(LAB)  ## open the notebooks in JupyterLab
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/jupyter lab $(or $(ARGS),notebooks)

$(LAB): $(STAMP)
	@requirements/install.sh $(BIN)/python requirements/notebooks.lock
	@rm -f $(VENV)/.lab-*; touch $@

bench: $(STAMP)  ## measure, side by side with the peers
	$(BIN)/python -m benchmarks $(or $(ARGS),all)

$(BASE):
	@test -n "$(PYTHON)" || { echo "no Python 3.12 or later found; name one: make PYTHON=/path/to/python3.13 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@requirements/install.sh $(BIN)/python requirements/base.lock
	@requirements/install.sh $(BIN)/python requirements/build.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.base-*; touch $@

$(STAMP): $(BASE)
	@requirements/install.sh $(BIN)/python requirements/dev.lock
	@rm -f $(VENV)/.installed-*; touch $@

LOCK := uv pip compile -q --generate-hashes --universal --python-version 3.12 --no-annotate --no-header
lock:  ## resolve the dependencies anew; needs uv
	$(LOCK) pyproject.toml --extra postgres --extra files -c requirements/constraints.txt -o requirements/base.lock
	$(LOCK) pyproject.toml --extra dev -c requirements/base.lock -o requirements/dev.lock
	$(LOCK) pyproject.toml --extra postgres --extra files --extra gpu -c requirements/base.lock -o requirements/gpu.lock
	$(LOCK) --group build -c requirements/dev.lock -o requirements/build.lock
	$(LOCK) --group launcher -c requirements/dev.lock -o requirements/launcher.lock
	$(LOCK) --group notebooks -c requirements/dev.lock -o requirements/notebooks.lock

clean:  ## remove the environment and the caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache
