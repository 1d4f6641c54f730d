# make demo            the main job on a real daily series, from nothing to a report
# make demo DATA=file  the same for your own table
# make test            all default tests
# make docs            the documentation site, into site/
# make lint            style and types

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATA ?=
ARGS ?=

.PHONY: demo test slow docs lint sanitize neon clean

# The environment is made once, and again when what it needs has changed.
$(VENV)/.made: pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/* csrc/cells/*)
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; name one: make PYTHON=python3.12")'
	@echo "Installing into $(VENV), and compiling the native kernels: two to five minutes, once"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev,docs,rivals]'
	touch $@

demo: $(VENV)/.made
ifeq ($(DATA),)
	$(BIN)/python recipes/demo/weather.py demo/seattle.csv
	$(BIN)/seqloom forecast demo/seattle.csv --target temp_max --horizon 7 -o demo/run $(ARGS)
else
	mkdir -p demo
	$(BIN)/seqloom forecast '$(DATA)' --horizon 7 -o demo/run $(ARGS)
endif

test: $(VENV)/.made
	$(BIN)/python -m pytest $(ARGS)

slow: $(VENV)/.made
	$(BIN)/python -m pytest -m slow $(ARGS)

docs: $(VENV)/.made
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(VENV)/.made
	$(BIN)/ruff check src tests recipes docs
	$(BIN)/mypy

sanitize: $(VENV)/.made
	csrc/sanitize.sh $(BIN)/python

neon: $(VENV)/.made
	csrc/neon.sh $(BIN)/python

clean:
	rm -rf $(VENV) demo site build
