# Everything is set up on first use, in .venv inside the checkout, from Python and make alone.
PYTHON ?= python3
# Processes that share the tests; auto: one for each core; 0: none, as a debugger needs it.
WORKERS ?= auto
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal
READY := .venv/ready

.PHONY: demo test test-long test-browser lint types check benchmark docs clean

demo: $(READY)  ## train on data that come with bptt, and write a report
	$(BIN)/bptt train

test: $(READY)  ## all tests but the long ones and those in a browser
	$(PYTEST)

test-long: $(READY)  ## the long ones too
	$(PYTEST) -m "not browser"

test-browser: $(READY)  ## the pages that bptt writes, opened in Chromium
	@command -v chromium >/dev/null || \
	  { echo "expected Chromium on the path, found none. Install it: apt-get install chromium"; exit 1; }
	$(PYTEST) -m browser tests/browser

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY)
	$(BIN)/pyrefly check

check: lint types test test-browser docs  ## what CI runs

benchmark: $(READY) .venv/peers  ## speed beside others, ways back, what the reference and inspection cost, what networks reach
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/methods.py
	$(BIN)/python benchmarks/reference.py
	$(BIN)/python benchmarks/inspection.py
	$(BIN)/python benchmarks/learning.py

.venv/peers: benchmarks/requirements.txt $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

docs: $(READY) .venv/docs  ## the site, in build/docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "Open build/docs/index.html"

.venv/docs: docs/requirements.txt $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

clean:  ## remove the virtual environment and what tools leave behind
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "bptt needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv, once: a few minutes, most of them for torch."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $(READY)
