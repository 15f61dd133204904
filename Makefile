# The few commands of a developer's day. PYTHON is the interpreter of the environment: make test PYTHON=.venv/bin/python
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)

.PHONY: install format lint types test test-all test-clients soak fuzz bench check

install:
	$(PYTHON) -m pip install -e '.[dev]'

format:
	$(PYTHON) -m ruff check --fix . && $(PYTHON) -m ruff format .

lint:
	$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest -m 'not slow and not gpu and not weights'

test-all:
	$(PYTHON) -m pytest -m 'not gpu and not weights'

# Other people's clients, installed beside the repository as CONTRIBUTING.md says; those that are not there are skipped.
test-clients:
	$(PYTHON) -m pytest tests/clients -m clients

# Two thousand mixed requests: no memory, handle or thread stays behind.
soak:
	DIA_SOAK_REQUESTS=2000 $(PYTHON) -m pytest tests/server/test_soak.py -m slow

# Ten minutes of inputs that look for new lines in the parsers; needs atheris, as the script says.
fuzz:
	$(PYTHON) scripts/fuzz_parsers.py

bench:
	$(PYTHON) -m dia.bench engine

check: lint types test
