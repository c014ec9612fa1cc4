# Everything runs in .venv, which is made once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Tools that `export` writes for and what their parsers import, for the tests alone. They lie beside the environment, not in
# it: accelerate imports DeepSpeed in every probe that finds it. Without dependencies: those are other versions and CUDA.
# Where they cannot be had, their tests skip and say so.
PARSERS := axolotl addict pillow deepspeed einops hjson msgpack llamafactory liger-kernel omegaconf

.PHONY: install test lint demo clean

$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dashboard,parquet,test]'
	-$(BIN)/pip install --quiet --constraint constraints.txt --no-deps --no-compile --upgrade --target $(VENV)/parsers $(PARSERS)
	touch $@

install: $(VENV)/.done

test: install lint
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: install
	BIN=$(BIN) bash examples/demo.sh

clean:
	rm -rf $(VENV) demo build
