# Two commands for a new user: `make demo` and `make test`. The rest is for
# those who work on stackctl; CONTRIBUTING.md says more.

SHELL := /bin/sh
BIN := .venv/bin
CYCLES ?= 100
SECONDS_OF_FUZZING ?= 60
SECONDS_OF_SCHEMATHESIS ?= 300
# Further options for pytest, e.g. PYTEST="-k health -x".
PYTEST ?=
# Every test has an engine of its own, so that files of tests may run beside each other.
# One more than this machine is likely to have cores: many tests wait for something.
PARALLEL ?= -n 3 --dist loadfile --no-loadscope-reorder
# In CI a test that is skipped is a failure.
NO_SKIPS := $(if $(filter true 1,$(CI)),--no-skips,)

.PHONY: help setup demo test check lint unit integration e2e soak vmtest bench docs build clean
.PHONY: schemathesis

help:
	@echo "make demo    set up, bring an example stack up, fetch a page from it, take it down"
	@echo "make test    all that the tests need, then lint, types, contracts and every test"
	@echo "make check   lint, types, import contracts and unit tests (before each commit)"
	@echo "make setup   the virtual environment in .venv"
	@echo "make bench   stackctl beside Docker and Podman, when they are installed"
	@echo "make soak    CYCLES=$(CYCLES) times up and down, counting what is left"
	@echo "make vmtest  limits, stats, pause and kill in a virtual machine with cgroup v2 (minutes)"
	@echo "make fuzz    damaged DNS messages and stack files, each SECONDS_OF_FUZZING=$(SECONDS_OF_FUZZING)"
	@echo "make schemathesis SPEC=path   Docker's API against its specification file"
	@echo "make docs    the generated pages under docs/"
	@echo "make build   the wheel and the source archive, under dist/"

setup: .venv/ready-dev
	@:

# The stamps are younger than what they were made from: a second run costs nothing.
.venv/ready-run: pyproject.toml scripts/setup.sh
	@scripts/setup.sh run
	@touch $@

.venv/ready-dev: pyproject.toml scripts/setup.sh
	@scripts/setup.sh dev
	@touch $@ .venv/ready-run

demo: .venv/ready-run
	@scripts/demo.sh

lint: .venv/ready-dev
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary -p stackctl
	@report=$$($(BIN)/lint-imports 2>&1) || { echo "$$report"; exit 1; }

unit: .venv/ready-dev
	@$(BIN)/pytest $(PARALLEL) tests/unit $(NO_SKIPS) $(PYTEST)

integration e2e: .venv/ready-dev packages
	@$(BIN)/pytest $(PARALLEL) tests/$@ $(NO_SKIPS) $(PYTEST)

check: lint unit

.PHONY: packages
packages:
	@scripts/packages.sh tests

test: .venv/ready-dev packages lint
	@# The longest first: no worker is left alone with them at the end.
	@$(BIN)/pytest $(PARALLEL) tests/e2e tests/integration tests/unit --cycles=$(CYCLES) $(NO_SKIPS) $(PYTEST)

soak: .venv/ready-dev
	@$(BIN)/pytest tests/e2e tests/integration -k "cycles or endurance or failpoints" \
		--cycles=$(CYCLES) --timeout=3600 $(PYTEST)

# Limits, stats, pause and kill on cgroup v2; the result goes to docs/vmtest.txt.
vmtest: .venv/ready-dev
	@scripts/vmtest.sh

bench: .venv/ready-run
	@$(BIN)/python tests/bench/main.py $(BENCH)

bench-net: .venv/ready-dev
	@$(BIN)/python tests/bench/net.py

fuzz: .venv/ready-dev
	@SECONDS_OF_FUZZING=$(SECONDS_OF_FUZZING) PYTHONPATH=. $(BIN)/python tests/fuzz_dns.py
	@SECONDS_OF_FUZZING=$(SECONDS_OF_FUZZING) PYTHONPATH=. $(BIN)/python tests/fuzz_stack_file.py

# Docker's API against its specification, which is not a part of this project: SPEC=path.
schemathesis: .venv/ready-dev .venv-schemathesis/bin/schemathesis
	@$(BIN)/python tests/schema/run.py --schemathesis .venv-schemathesis/bin/schemathesis \
		--seconds $(SECONDS_OF_SCHEMATHESIS) $(SPEC)

.venv-schemathesis/bin/schemathesis:
	@python3 -m venv .venv-schemathesis
	@.venv-schemathesis/bin/pip install --quiet schemathesis

docs: .venv/ready-dev
	@scripts/docs.sh

build: .venv/ready-dev
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist

clean:
	rm -rf .venv .venv-schemathesis dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
