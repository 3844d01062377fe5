# Everything a fresh machine needs is git, python3 (3.11 or newer) with venv, and make.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: install smoke test lint types check reference calibrate docs clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "replibench needs Python 3.11 or newer; set PYTHON=…")'
	@echo 'installing into .venv (some minutes, and with a CUDA build of torch some gigabytes)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

smoke: install  ## the embedded default: train a replica, judge it, write runs/smoke/report.html
	$(BIN)/replibench run configs/runs/smoke.yaml

test: install
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder  # two: many tests have processes of their own

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

check: test lint types

reference: install  ## rebuild configs/references/tinyworld-434k from its run configuration
	$(BIN)/replibench train configs/runs/tinyworld-reference.yaml
	$(BIN)/python -m scripts.publish_reference runs/tinyworld-reference configs/references/tinyworld-434k

calibrate: install  ## the suite's operating characteristics, in full (half an hour or more on two cores; resumable)
	$(BIN)/replibench calibrate configs/runs/smoke.yaml --seeds 8 \
	  --controls half_steps:2,three_quarter_steps:2,lr_tenth:1,no_decay:1

docs: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
