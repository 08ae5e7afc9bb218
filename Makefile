# Every target sets up what it needs. PYTHON picks the interpreter of the environment (3.11 to 3.13).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
CONFORMANCE ?= ../shared/conformance
UI     := src/swapyard/web/ui/index.html

# One process for each core; one that has nothing left to do takes tests from another.
PYTEST := pytest --numprocesses auto --dist worksteal

.PHONY: help demo test test-long check format conformance ui types check-ui test-ui screenshots bench soak chaos wheel test-compiled clean

help:
	@echo "make demo         set up and run two demonstration models behind one address"
	@echo "make test         set up and run the tests, on all cores (ARGS='tests/api -x')"
	@echo "make test-long    the same with many more examples of each property, on asyncio as well as on uvloop"
	@echo "make check        formatting, lint, types, import rules"
	@echo "make format       mend formatting and what lint can mend"
	@echo "make ui           build the web UI into the package"
	@echo "make types        the web UI's types from the control plane's document"
	@echo "make check-ui     types and unit tests of the web UI, and the size of what it sends first"
	@echo "make test-ui      browser tests: the real server, the demonstration models, Chromium"
	@echo "make screenshots  pictures of every page in both themes and two sizes, in screenshots/"
	@echo "make bench        measure against a direct connection (OTHER='server -config {config} -listen {listen}')"
	@echo "make wheel        build the wheel into dist/, its hot modules compiled (SWAPYARD_PURE=1: none)"
	@echo "make test-compiled  run the tests against that wheel"
	@echo "make soak         mixed load for SECONDS (600): memory, descriptors, threads and tasks stay within bounds"
	@echo "make chaos        random blows for SECONDS (60), judged by an oracle; SEED=… plays the same ones again"
	@echo "make conformance  run the black-box suite in $(CONFORMANCE)"

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "swapyard needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	SWAPYARD_PURE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group engine || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --group engine-anywhere || \
	  echo "no prebuilt engine can be installed here; its tests will be skipped"
	@touch $@

wheel: $(STAMP) $(UI)
	@rm -f dist/swapyard-*.whl
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/swapyard-*.whl

# What somebody gets who installs the wheel, in an environment of its own.
COMPILED := .cache/compiled

$(COMPILED)/.installed: $(STAMP) $(UI) pyproject.toml tools/compile_hook.py $(shell find src -name '*.py')
	$(MAKE) wheel
	test -x $(COMPILED)/bin/python || $(PYTHON) -m venv $(COMPILED)
	$(COMPILED)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(COMPILED)/bin/python -m pip install --quiet --disable-pip-version-check dist/swapyard-*.whl --group dev
	$(COMPILED)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall dist/swapyard-*.whl
	@touch $@

# The tests of what is compiled, and of everything that goes through it.
test-compiled: $(COMPILED)/.installed
	$(COMPILED)/bin/python -I tools/is_compiled.py
	$(COMPILED)/bin/python -m $(PYTEST) -m 'not engine' $(or $(ARGS),tests/api tests/app tests/end_to_end tests/hostile tests/observe \
	  tests/proxy tests/scheduling tests/web tests/test_bus.py tests/test_dispatcher.py)

demo: $(STAMP) $(UI)
	@exec $(BIN)/swapyard demo

test: $(STAMP)
	$(BIN)/python -m $(PYTEST) $(ARGS)

test-long: $(STAMP)
	$(BIN)/python -m $(PYTEST) --long --timeout 1800 $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check src tests benchmarks tools
	$(BIN)/ruff check src tests benchmarks tools
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format src tests benchmarks tools
	$(BIN)/ruff check --fix src tests benchmarks tools

conformance: $(STAMP)
	@test -f $(CONFORMANCE)/run.py || \
	  { echo "the conformance suite is not in $(CONFORMANCE); set CONFORMANCE=/path/to/it"; exit 1; }
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python $(CONFORMANCE)/run.py --product swapyard --jobs 4 \
	  --server '$(abspath $(BIN))/swapyard --config {config} --listen {listen}' $(ARGS)

# wrk asks and nginx answers: both are faster than anything that is measured here.  Measured is what users install.
bench: $(COMPILED)/.installed
	@command -v wrk >/dev/null && command -v nginx >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get install -qq -y wrk nginx-light; } || \
	  { echo "the benchmark needs wrk and nginx (Debian: apt-get install wrk nginx-light)"; exit 1; }
	@exec $(COMPILED)/bin/python benchmarks $(if $(OTHER),--other '$(OTHER)') $(ARGS)

# Minutes of mixed load on what users install; the short form of continuous integration is SECONDS=40.
soak: $(COMPILED)/.installed
	@exec $(COMPILED)/bin/python benchmarks/soak.py --seconds $(or $(SECONDS),600) $(ARGS)

chaos: $(STAMP)
	@test -n "$(SEED)" || { echo "which seed? make chaos SEED=7"; exit 1; }
	@exec $(BIN)/python -m tests.chaos --seed $(SEED) --seconds $(or $(SECONDS),60) $(ARGS)

ui: $(UI)

# Without npm the program runs all the same, and says where its pages would be.
$(UI): $(shell find ui/src ui/public ui/index.html ui/package.json ui/package-lock.json ui/vite.config.ts -type f 2>/dev/null)
	@if command -v npm >/dev/null; then \
	  $(MAKE) $(NODE_MODULES) && cd ui && npm run build; \
	else echo "the web UI needs Node 20 and npm to be built; going on without it"; fi

# Both files are kept in git, so that building the web UI needs no Python.
types: $(STAMP)
	$(BIN)/python tools/openapi.py > ui/openapi.json.new && mv ui/openapi.json.new ui/openapi.json
	cd ui && { test -x node_modules/.bin/openapi-typescript || npm ci --no-audit --no-fund --loglevel=error; } && \
	  npm run types

CHROMIUM ?= /usr/bin/chromium
NODE_MODULES := ui/node_modules/.package-lock.json

$(NODE_MODULES): ui/package-lock.json
	@command -v npm >/dev/null || { echo "the web UI needs Node 20.19 or newer and npm"; exit 1; }
	cd ui && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(CHROMIUM):
	@{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -qq -y chromium >/dev/null && test -x $(CHROMIUM); } || \
	  { echo "the browser tests need Chromium (Debian: apt-get install chromium), or CHROMIUM=/path/to/it"; exit 1; }

check-ui: $(NODE_MODULES)
	cd ui && npm run check && npm test && npm run build

# Against the built pages; the gateways that are needed are started and ended by the tests.
test-ui: $(STAMP) $(NODE_MODULES) $(UI) $(CHROMIUM)
	cd ui && CHROMIUM=$(CHROMIUM) npm run test:browser -- $(ARGS)

screenshots: $(STAMP) $(NODE_MODULES) $(UI) $(CHROMIUM)
	cd ui && CHROMIUM=$(CHROMIUM) npm run screenshots -- $(ARGS)

clean:
	rm -rf $(VENV) $(COMPILED) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
