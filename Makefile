# `make demo` and `make test` each work as the first command on a machine with Python 3.11 or newer.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test proofs fuzz docs lint mutants bench exhaust faults format clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "handgrad needs Python 3.11 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[data,checkpoint]' --group test --group lint --group docs
	@touch $@

demo: $(READY)  ## train on breast-cancer by hand and by optax, side by side
	$(BIN)/handgrad train breast-cancer

test: $(READY)  ## the tests, then the gradients' tests again with every annotation enforced
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
	$(BIN)/python -m pytest -n $(WORKERS) tests/gradients tests/test_losses.py -q -m 'not bad_input and not slow' -p no:handgrad --jaxtyping-packages=handgrad,beartype.beartype

proofs: $(READY)  ## the long tests: the whole catalogue before the judge, with its search
	$(BIN)/python -m pytest -m slow

fuzz: $(READY)  ## ten thousand inputs of every bad kind: each works or is refused in one line
	HANDGRAD_FUZZ=whole $(BIN)/python -m pytest -q tests/fuzz

docs: $(READY)  ## the book, which runs as it is built: docs/_build/html/index.html
	$(BIN)/python -m sphinx -W -q -E -b html docs docs/_build/html

lint: $(READY)  ## style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

mutants: $(READY)  ## the judge judged: a thousand mutants
	$(BIN)/handgrad mutants

bench: $(READY)  ## every race on this machine, with the peers
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group bench
	$(BIN)/handgrad bench

exhaust: $(READY)  ## every float32 logit through every form
	$(BIN)/handgrad exhaust

faults: $(READY)  ## training killed, starved of disk and given damaged checkpoints
	$(BIN)/handgrad faults

format: $(READY)  ## rewrite the files in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the virtual environment and the caches
	rm -rf $(VENV) docs/_build docs/api docs/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis
