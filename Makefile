# Everything lives in the tree: .venv/ holds the interpreter's packages and the embedded broker's jars, data/ what a run writes.
PYTHON ?= python3
BIN := .venv/bin
SIDE_BY_SIDE := --numprocesses 2
# Every worker of Ray and every process of the tests imports the same modules: what was compiled is kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo demo-retrain up test test-fast test-matrix bench-search bench-fairness bench-gate bench-signals bench-api bench-swaps bench-retrain show-voting screenshots faults check lock schemas clean
help:            ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

.venv/.ready: requirements/lock.txt pyproject.toml
	@echo "Setting up .venv (about two minutes the first time) ..."
	@rm -f $@
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; set PYTHON=...")'
	@$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements/lock.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@test -n "$$KAFKA_BOOTSTRAP_SERVERS" || $(BIN)/orchestrator broker fetch
	@touch $@

setup: .venv/.ready  ## install everything into .venv

demo: setup      ## search request in, trading signals out, on real prices and a real Kafka; KEEP=1 leaves it up, with its dashboard
	$(BIN)/orchestrator demo $(if $(KEEP),--keep)

demo-retrain: setup ## a regime breaks: what fires, the one search, the challenger, and whether it takes over; KEEP=1 as above
	$(BIN)/orchestrator demo --retrain $(if $(KEEP),--keep)

up: setup        ## run the service until Ctrl-C
	$(BIN)/orchestrator up

check: setup     ## architecture, style and types
	$(BIN)/lint-imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check      ## every check and every test
	$(BIN)/pytest --verbose $(SIDE_BY_SIDE)

test-fast: setup ## what needs neither broker nor Ray, nor trains for long
	$(BIN)/pytest -m "not slow" --quiet $(SIDE_BY_SIDE) --hypothesis-profile fast tests/unit tests/property tests/contracts

test-matrix: setup ## every strategy with every algorithm on the running service
	EVERY_COMBINATION=1 $(BIN)/pytest --verbose tests/e2e/test_strategies.py

bench-search: setup ## searches beside what one would use instead: a table, and one JSON object
	$(BIN)/python -m benchmarks.search

bench-fairness: setup ## do searches that run at once share the machine
	$(BIN)/python -m benchmarks.fairness

show-voting: setup ## how often five members that vote say BUY, SELL and HOLD of the sample prices
	$(BIN)/python -m benchmarks.voting

bench-gate: setup ## does the gate keep luck out and let skill in
	$(BIN)/python -m benchmarks.gate

bench-signals: setup ## how fast ticks become signals beside what one would use instead: a table, and one JSON object
	$(BIN)/python -m benchmarks.signals
bench-api: setup ## how fast the API answers with 10,000 trials in the store: a table, and one JSON object
	$(BIN)/python -m benchmarks.api

bench-swaps: setup ## versions that swap, some of them broken, under 500 ticks a second: a table, and one JSON object
	$(BIN)/python -m benchmarks.swaps

bench-retrain: setup ## does retraining begin for a reason only, and is only what is better promoted
	$(BIN)/python -m benchmarks.retraining

screenshots: setup ## every page of the dashboard of the service that runs, as pictures in data/screenshots, or in TO=FOLDER
	$(BIN)/python -m benchmarks.screenshots $(TO)

faults: setup    ## kill, stop, fill up and garble things under a running service: a table of what held
	$(BIN)/python -m tests.faults $(FAULTS)

schemas: setup   ## write the JSON Schemas and the AsyncAPI document again
	$(BIN)/orchestrator schemas schemas/generated

# NCCL, which joins the GPUs of several hosts, is left out: xgboost loads it only there, and it is larger than all the rest.
lock: setup      ## resolve the dependencies again, with hashes
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	    --python-version 3.11 --all-extras --group dev --no-emit-package nvidia-nccl-cu12 --no-emit-package nvidia-nccl-cu13 \
	    pyproject.toml --output-file requirements/lock.txt

clean:           ## remove the environment and what runs have written
	rm -rf .venv data
