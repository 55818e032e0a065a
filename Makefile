# Nova core. `make serve` and `make test` are all that a fresh machine needs; `make help` lists the rest.

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
ONLY   ?=
# Two at a time, each file's tests in one of them: much of the suite waits (tests/conftest.py). WORKERS= runs one after the other.
WORKERS ?= -n 2 --dist loadfile --no-loadscope-reorder
BIN    := $(VENV)/bin
SETUP  := @VENV=$(VENV) $(PYTHON) tools/setup.py
# Several runs of one checkout at once would compile over one another.
.NOTPARALLEL:

.PHONY: help setup serve test test-all bench lint docs wheel clean distclean

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: ## install what is missing: system headers, .venv, the compiled core
	$(SETUP) serve

serve: ## start the server with a demo stream (ARGS='--set http.listen=127.0.0.1:0')
	$(SETUP) serve
	@exec $(BIN)/nova serve --demo $(ARGS)

test: ## the test suite (ARGS='-k rtmp')
	$(SETUP) test
	@$(BIN)/python -m pytest -q -m "not slow" $(WORKERS) $(ARGS)

test-all: ## everything: slow tests, more examples, builds with bounds checks and under sanitizers, the fuzz targets
	$(SETUP) lint
	$(SETUP) test
	@HYPOTHESIS_PROFILE=searching $(BIN)/python -m pytest -q -o faulthandler_timeout=900 $(WORKERS) $(ARGS)
	@$(BIN)/python tools/variant.py debug -- -q -m "not slow and not browser" $(ARGS)
	@$(BIN)/python tools/variant.py address -- -q -m "not slow" tests/ext tests/core/reactor $(ARGS)
	@$(BIN)/python tools/variant.py thread -- -q -m "not slow" tests/core/reactor tests/cdn/shield $(ARGS)
	@$(BIN)/python -m tests.fuzz.sanitized

bench: ## the benchmarks (ONLY=fanout)
	$(SETUP) bench
	@$(BIN)/python -m bench $(if $(ONLY),--only '$(ONLY)') $(ARGS)

lint: ## ruff, mypy --strict, import directions, stubs against the compiled modules
	$(SETUP) lint
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python tools/stubs.py

docs: ## write the generated pages (settings, errors)
	$(SETUP) serve
	@$(BIN)/python tools/gendocs.py

wheel: ## build sdist and wheel into dist/
	$(SETUP) serve
	@$(BIN)/python -c "from setuptools.build_meta import build_sdist; build_sdist('dist')"
	@$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w dist dist/nova_core-*.tar.gz

clean: ## remove what was built; keep the virtual environment
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks
	@find ext -name '*.so' -delete
	@find ext -path ext/csrc -prune -o -name '*.c' -exec rm {} +
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
	@rm -f $(VENV)/.nova-core

distclean: clean ## remove the virtual environment too
	@rm -rf $(VENV)
