# The same commands for people and for CI. A Debian or Ubuntu with python3 (3.11 or later), python3-venv, python3-dev, gcc and make
# needs nothing else.

PYTHON ?= python3
CC ?= cc
BIN := .venv/bin
SET_UP := .venv/set-up
KERNELS := .venv/kernels
NATIVE := $(wildcard ext/*.pyx ext/*.pxd ext/*.c ext/*.h)
DISK ?=

.PHONY: stubs demo demo-vsphere test check bench torture verify-vcenter style types arrows kernel-style kernel-warnings clean

demo: $(KERNELS)  ## back up, change, restore and compare a disk: `make demo`, or `make demo DISK=path`
	@$(BIN)/python -m ingot.demo $(DISK)

demo-vsphere: $(KERNELS)  ## the same with machines of a vCenter, which is simulated
	@$(BIN)/python -m tests.sim.demo

test: $(KERNELS)
	$(BIN)/python -m pytest -m "not torture" -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

check: style types arrows kernel-style kernel-warnings

bench: $(KERNELS)
	$(BIN)/python -m bench

stubs: $(SET_UP)  ## make proto/*_pb2* again from the .proto files
	$(BIN)/python -m tests.house.stubs .

torture: $(KERNELS)
	$(BIN)/python -m pytest -m torture
	INGOT_EXAMPLES=torture $(BIN)/python -m pytest --timeout 3600 tests/vsa/nbd tests/media/test_crafted_records.py tests/media/test_structures.py

verify-vcenter: $(KERNELS)  ## the contract suite against the vCenter that INGOT_VCENTER names: docs/vsphere.md
	@test -n "$$INGOT_VCENTER" || { echo "INGOT_VCENTER names no vCenter: docs/vsphere.md" >&2; exit 2; }
	$(BIN)/python -m pytest tests/contracts/test_vcenter.py -k real

style: $(SET_UP)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(KERNELS)
	$(BIN)/mypy

arrows: $(KERNELS)
	$(BIN)/lint-imports

kernel-style: $(SET_UP)
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint --max-line-length 120 ext/*.pyx

kernel-warnings:
	$(CC) -Wall -Wextra -Werror -std=c11 -fsyntax-only ext/*.c

clean:
	rm -rf .venv build dist *.egg-info ext/*.so

$(SET_UP): pyproject.toml
	$(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' && touch $@

$(KERNELS): $(SET_UP) setup.py $(NATIVE)
	$(BIN)/python setup.py --quiet build_ext --inplace && touch $@
