# The everyday commands; `make help` lists them. They need make and Python 3.11 or newer, nothing else.
#
#   PYTHON=python3.13  another interpreter      VENV=.venv-3.13  another place for the environment
#   ARGS="…"           more arguments for the command of the target
#   OVERLAY=openshift  the overlay to deploy, or the directory of your own

VENV ?= .venv
PYTHON ?=
ARGS ?=
OVERLAY ?= kubernetes

# Each of the processes has servers of its own. ARGS="-n 0" runs the tests in one, as plain pytest does.
PYTEST = $(VENV)/bin/python -m pytest -n logical --maxprocesses 8

MAKEFLAGS += --no-print-directory
PACKAGES := $(wildcard python/*/pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help up test test-slow lint format lock secrets deploy clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1  \2/p' $(firstword $(MAKEFILE_LIST))

up: $(VENV)/up.stamp  ## run the whole system here, until Ctrl-C
	@exec $(VENV)/bin/ibutsu up $(ARGS)

test: $(VENV)/dev.stamp  ## run the tests, but for the slow ones
	@exec $(PYTEST) -m "not slow" $(ARGS)

test-slow: $(VENV)/dev.stamp  ## run the slow tests
	@exec $(PYTEST) -m slow $(ARGS)

lint: $(VENV)/dev.stamp  ## check style and types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/mypy benchmarks

format: $(VENV)/dev.stamp  ## put the code into its form
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

lock: $(VENV)/dev.stamp  ## resolve the requirements anew (ARGS=--upgrade for newer versions)
	@PATH="$(abspath $(VENV))/bin:$$PATH" requirements/lock $(ARGS)

secrets:  ## make the files of the Secrets, with random values
	@manifests/components/secrets/create

deploy:  ## apply an overlay in the right order, and wait for each part (OVERLAY=openshift)
	@manifests/deploy $(if $(wildcard $(OVERLAY)/kustomization.yaml),$(OVERLAY),manifests/overlays/$(OVERLAY))

clean:  ## remove what can be made again; the data in .ibutsu stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find python tests -type d -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/%.stamp: requirements/%.txt requirements/environment $(PACKAGES)
	@PYTHON="$(PYTHON)" VENV="$(VENV)" requirements/environment $*
