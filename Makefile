# `make demo` and `make test` each work as the first command on a machine with Python 3.11 or newer.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NEWEST_READY := .venv-newest/.ready
CONSTRAINTS := constraints/$(shell $(PYTHON) -c 'import sys; print("python3.11" if sys.version_info < (3, 12) else "python3.12")').txt
NEWEST ?= $(shell for p in python3.13 python3.12; do $$p -c "" 2>/dev/null && echo $$p && exit; done; ls -d $$(pyenv root 2>/dev/null)/versions/3.1[23]*/bin/python 2>/dev/null | tail -1)
PYTHON312 ?= $(shell python3.12 -c "" 2>/dev/null && echo python3.12 || ls -d $$(pyenv root 2>/dev/null)/versions/3.12*/bin/python 2>/dev/null | tail -1)

unexport PYTHONDONTWRITEBYTECODE  # many processes read the same modules

.DEFAULT_GOAL := help
.PHONY: help demo test studies chapters newest newest-python lowest wheel torch proofs processes fuzz docs figures lint types mutants corpus notes bench accelerator accelerator-bundle accelerator-dry-run atlas every-logit repair faults format clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "handgrad needs Python 3.11 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[data,checkpoint]' --group test --group lint --group docs
	@touch $@

demo: $(READY)  ## train on breast-cancer by hand and by optax, side by side
	$(BIN)/handgrad train breast-cancer

test: $(READY)  ## the package: the gradients' tests with every annotation enforced, then all the others
	$(BIN)/python -m pytest -n $(WORKERS) tests/gradients tests/test_losses.py -q -m 'annotated and not slow' -p no:handgrad --jaxtyping-packages=handgrad,beartype.beartype
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m 'not annotated and not slow' --ignore=tests/benchmarks --ignore=tests/docs

studies: $(READY)  ## the tests of benchmarks/: mutants, bug reports, notes, faults, the accelerator's script
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile tests/benchmarks

chapters: $(READY)  ## the book: the code of every chapter prints what it says; figures and pages to play with
	$(BIN)/python -m pytest -n $(WORKERS) -q -m "slow or not slow" tests/docs

newest-python:
	@echo $(NEWEST)

$(NEWEST_READY): pyproject.toml constraints/python3.12.txt
	@test -n "$(NEWEST)" || { echo "no Python 3.12 or 3.13 was found: name one with make newest NEWEST=..."; exit 1; }
	$(NEWEST) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	.venv-newest/bin/python -m pip install --quiet --constraint constraints/python3.12.txt --editable '.[data,checkpoint]' --group test
	@touch $@

newest: $(NEWEST_READY)  ## the core's tests, but the browser's, on the newest Python and JAX that are here
	.venv-newest/bin/python -m pytest -n $(WORKERS) --dist loadfile --ignore-glob='*_in_browser.py' tests/gradients tests/exact tests/verify tests/explain tests/train tests/scale

lowest:  ## train, verify and explain on the lowest versions that pyproject.toml allows
	rm -rf .venv-lowest && $(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints/lowest.txt .
	cd .venv-lowest && bin/handgrad train breast-cancer && bin/handgrad verify sigmoid && bin/handgrad explain logistic | tail -n 20

wheel:  ## a wheel alone, without extras: the command works
	rm -rf dist .venv-wheel && $(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install --quiet build && .venv-wheel/bin/python -m build --wheel --outdir dist . >/dev/null
	.venv-wheel/bin/python -m pip install --quiet --constraint $(CONSTRAINTS) dist/*.whl
	cd .venv-wheel && bin/handgrad --version && bin/handgrad train breast-cancer && bin/handgrad verify logistic && bin/handgrad explain logistic | tail -n 20 && bin/handgrad bench --quick

torch:  ## PyTorch's losses and rules before the judge, in an environment of their own
	test -d .venv-torch || $(PYTHON) -m venv .venv-torch
	.venv-torch/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	.venv-torch/bin/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[torch]' --group test
	.venv-torch/bin/python -m pytest -q tests/interop
	.venv-torch/bin/python -m benchmarks.judge.pytorch --processes $(WORKERS)

proofs: $(READY)  ## the long tests; and once more, compiled as usual, what make test compiles quickly
	$(BIN)/python -m pytest -m slow
	HANDGRAD_COMPILE=usual $(BIN)/python -m pytest tests/benchmarks tests/docs tests/explain tests/fast tests/gradients tests/interop tests/verify tests/test_losses.py

fuzz: $(READY)  ## ten thousand inputs of every bad kind: each works or is refused in one line
	HANDGRAD_FUZZ=whole $(BIN)/python -m pytest -q tests/fuzz

processes: $(READY)  ## many devices and many processes: the result of one, and an end in words
	$(BIN)/python -m pytest -s tests/scale/test_rendezvous.py tests/scale/test_processes.py tests/scale/test_sharding.py -m 'slow or not slow'

docs: $(READY)  ## the book, which runs as it is built: docs/_build/html/index.html
	$(BIN)/python -m sphinx -W -q -E -b html docs docs/_build/html

figures: $(READY)  ## the book's own figures as files: docs/generated
	cd docs && ../$(BIN)/python -m figures

lint: $(READY)  ## style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

types: $(READY)  ## a user's file under a second type checker: two errors, and no more, are right
	$(BIN)/python -m pip install --quiet basedpyright
	$(BIN)/basedpyright --level error tests/typed_user.py | tee /dev/stderr | grep -q '^2 errors, 0 warnings'

mutants: $(READY)  ## the judge judged: a thousand mutants
	$(BIN)/python -m benchmarks.judge.mutants

corpus: $(READY)  ## the judge judged: public derivative bugs, and right gradients with planted mistakes
	$(BIN)/python -m benchmarks.judge.bugs
	$(BIN)/python -m benchmarks.judge.objectives
	$(BIN)/python -m benchmarks.judge.controls

notes: $(READY)  ## the two source texts, every statement computed, and their errata
	$(BIN)/python -m benchmarks.notes

bench: $(READY)  ## every race on this machine, with the peers, into benchmarks/results
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --group bench
	$(BIN)/handgrad bench --results benchmarks/results
	$(BIN)/python -m benchmarks --results benchmarks/results

accelerator-bundle:  ## the wheels that a machine with JAX alone is missing (Python 3.12, Linux)
	$(PYTHON) benchmarks/accelerator/bundle.py

accelerator-dry-run: accelerator-bundle  ## every step of it here, at small sizes, with Python 3.12, JAX 0.11.2 and the bundle alone
	@test -n "$(PYTHON312)" || { echo "no Python 3.12 was found: name one with make accelerator-dry-run PYTHON312=..."; exit 1; }
	test -d .venv-accelerator || $(PYTHON312) -m venv .venv-accelerator
	.venv-accelerator/bin/python -m pip install --quiet jax==0.11.2
	JAX_PLATFORMS=cpu .venv-accelerator/bin/python -m benchmarks.accelerator --small --sweep

accelerator:  ## on a machine with an accelerator and no network: limits, correctness, races
	$(PYTHON) -m benchmarks.accelerator $(ARGS)

atlas: $(READY)  ## the error of every derivative in every dtype, into benchmarks/results
	$(BIN)/handgrad atlas --results benchmarks/results
	$(BIN)/python -m benchmarks.atlas_check

every-logit: $(READY)  ## every float32 logit through every form
	$(BIN)/handgrad atlas --every-logit

repair: $(READY)  ## 49 functions whose derivative loses digits, before and after the repair
	$(BIN)/python -m benchmarks.repair

faults: $(READY)  ## training killed, starved of disk and given damaged checkpoints
	$(BIN)/python -m benchmarks.faults

format: $(READY)  ## rewrite the files in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the virtual environment and the caches
	rm -rf $(VENV) .venv-newest .venv-lowest .venv-wheel .venv-torch .venv-accelerator dist docs/_build docs/api docs/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis
