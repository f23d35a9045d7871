# Both `make run` and `make test` do all the set-up from a clean clone; a second run finds it done.
# PYTHON=python3.12 names the interpreter for a new .venv; ARGS are passed on to the program.

VENV := .venv
BIN := $(VENV)/bin
WEB := overlay/web/node_modules
PEERS := tests/e2e/node/node_modules
export PYTHON VENV

.DEFAULT_GOAL := help
.PHONY: help run test bench setup clean

help:
	@echo 'make run                  the demo show; ARGS="--set http.port=9000"'
	@echo 'make test                 everything: ruff, mypy, pytest; ARGS="-k rtmp"'
	@echo 'make bench NAME=fanout    a benchmark; without NAME the list'
	@echo 'make setup                only the set-up that make run needs'
	@echo 'make clean                remove what the set-up and the tools made'

run: setup
	@exec $(BIN)/python -m mediaserver demo $(ARGS)

test: $(VENV)/.installed-test $(WEB)/.installed $(PEERS)/.installed
	@.ci/setup system
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest $(ARGS)

bench: setup
	@exec $(BIN)/python -m mediaserver bench $(if $(NAME),$(NAME) $(ARGS),--list)

setup: $(VENV)/.installed $(VENV)/.sender $(WEB)/.installed

$(BIN)/python:
	@.ci/setup venv

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@.ci/setup packages .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	@.ci/setup packages '.[test]'
	@touch $(VENV)/.installed $@

$(VENV)/.sender: mediaserver/rtc/compiled.c mediaserver/rtc/compiled_receive.c | $(VENV)/.installed
	@.ci/setup sender
	@touch $@

$(WEB)/.installed: overlay/web/package-lock.json | $(BIN)/python
	@.ci/setup web

$(PEERS)/.installed: tests/e2e/node/package-lock.json
	@.ci/setup peers

clean:
	rm -rf $(VENV) $(WEB) $(PEERS) build *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
