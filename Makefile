# make demo | install | test | test-fast | lint
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
FAST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m 'not slow'
COVERAGE := --cov=models --cov=trainers --cov=evaluation --cov=search

.PHONY: demo install test test-fast lint

demo: install
	@if [ -d runs/demo ]; then $(BIN)/rampart resume demo; \
	else $(BIN)/rampart search search/configs/demo.yaml; fi

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Rampart needs Python >= 3.11; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

test-fast: install
	$(FAST)

test: lint
	$(FAST) $(COVERAGE) --cov-report=
	$(BIN)/python -m pytest -q -m slow $(COVERAGE) --cov-append \
	--cov-report=term-missing:skip-covered --cov-fail-under=85
