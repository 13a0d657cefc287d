# Everything a first visitor or a developer needs. `make` alone lists the targets.
#
# `make demo` and `make test` do all their own set-up: a virtual environment in $(VENV) and the pinned packages of
# constraints.txt. A second run installs nothing, until pyproject.toml or constraints.txt change.
#
#   make demo PYTHON=python3.12        another interpreter (3.11 or newer)
#   make test TESTS=tests/conf         a part of the tests;  PYTEST_OPTIONS='-k clipping -x' passes options on
#   make demo DEMO_OPTIONS='privacy.epsilon=1'

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

VENV ?= .venv
BIN := $(VENV)/bin
# The first interpreter that is new enough; looked up only when the environment is made.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
WORKERS ?= 2
TESTS ?= tests
PYTEST_OPTIONS ?=
DEMO_OPTIONS ?=
BENCH_OPTIONS ?=
REHEARSAL_OPTIONS ?=
CONTAINER_OPTIONS ?=
STATIC := federation conf site_client aggregator experiments deploy tests

# One math thread per process: the tests and the demo run one process per core already.
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# $(call install,EXTRA): pip's chatter goes to a log, one line in twenty-five to the screen, its error lines on failure.
define install
@echo "==> installing cohortium[$(1)] into $(VENV) (minutes the first time, most of them PyTorch)"
@$(BIN)/python -m pip install -c constraints.txt -e '.[$(1)]' 2>&1 | tee $(VENV)/install-$(1).log \
  | awk '/^Collecting /{n++; if (n % 25 == 0) {printf "    %d packages so far, at %s\n", n, $$2; fflush()}} \
         /^Installing collected packages/{print "    unpacking"; fflush()}' \
  || { echo "==> the installation failed:" >&2; \
       grep -iE -A5 '^(error|.*error:|.*no matching)' $(VENV)/install-$(1).log | head -n 24 >&2 \
         || tail -n 12 $(VENV)/install-$(1).log >&2; \
       echo "==> the whole log: $(VENV)/install-$(1).log" >&2; exit 1; }
endef

.PHONY: help
help: ## list these targets
	@echo "Cohortium. Targets:"
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "Cohortium needs Python 3.11 or newer, and none was found." >&2; \
	  echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Cohortium needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)." >&2; exit 1; }
	@echo "==> creating $(VENV) with $$($(PYTHON) -V)"
	@# Debian splits ensurepip off: then an environment without pip is filled by the machine's own pip.
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 \
	  || { $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; } \
	  || { echo "Neither venv with ensurepip nor pip works with $(PYTHON)." >&2; \
	       echo "On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.simulation: $(VENV)/.created pyproject.toml constraints.txt
	$(call install,simulation)
	@touch $@

# The developer's extra contains the simulation's, so it fulfils both stamps.
$(VENV)/.dev: $(VENV)/.created pyproject.toml constraints.txt
	$(call install,dev)
	@touch $(VENV)/.simulation $@

.PHONY: setup
setup: $(VENV)/.dev ## install everything a developer needs into .venv (the other targets do this by themselves)

.PHONY: demo
demo: $(VENV)/.simulation ## train across five simulated hospitals with differential privacy; ends with a table and a report
	@$(BIN)/cohortium simulate study=demo privacy=patient_level $(DEMO_OPTIONS)

.PHONY: check
check: $(VENV)/.dev ## everything that reads code: format, lint, types, import contracts, documentation
	@$(BIN)/ruff format --check $(STATIC)
	@$(BIN)/ruff check $(STATIC)
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest tests/architecture -n $(WORKERS) -m "not slow" -q -p no:cacheprovider

.PHONY: test
test: $(VENV)/.dev ## the test suite without the slow tests
	@$(BIN)/python -m pytest $(TESTS) -n $(WORKERS) -m "not slow" $(PYTEST_OPTIONS)

.PHONY: test-all
test-all: $(VENV)/.dev ## the whole test suite, with the slow statistics, processes and fresh installations
	@HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest $(TESTS) -n $(WORKERS) $(PYTEST_OPTIONS)

.PHONY: rehearsal
rehearsal: $(VENV)/.dev ## a whole consortium on this machine: enrol, approve, train over mutual TLS, release, compare (minutes)
	@$(BIN)/python -m experiments.rehearsal $(REHEARSAL_OPTIONS)

.PHONY: container-test
container-test: $(VENV)/.dev ## build the three images and run a consortium in them (root, Debian; minutes)
	@$(BIN)/python -m deploy.container_test $(CONTAINER_OPTIONS)

.PHONY: sbom
sbom: $(VENV)/.dev ## what the images are made of, as CycloneDX, into build/sbom
	@$(BIN)/python -m deploy.sbom

.PHONY: mutants
mutants: $(VENV)/.dev ## plant faults in the privacy core, one at a time, and list the tests that notice (about 20 minutes)
	@$(BIN)/python -m tests.mutants

.PHONY: bench
bench: $(VENV)/.dev ## measure against floors, in turns on this machine; writes outputs/benchmarks
	@$(BIN)/python -m experiments.benchmarks $(BENCH_OPTIONS)
