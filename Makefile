# Everything sets itself up: a machine with Python >= 3.11 and make is enough. The review page needs node >= 18.20 and npm too:
# where npm is missing, everything but the page works, and what tests the page skips.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
# byte code by all cores at once; without it (PYTHONDONTWRITEBYTECODE) each process would compile torch anew
COMPILE = @$(PYTHON) -m compileall -qq -j 0
PAGE := src/smiler/review/page/index.html
NODE_MODULES := web/node_modules/.package-lock.json
NPM := $(shell command -v npm 2>/dev/null)
LOWEST := .venv-lowest
LOWEST_TESTS := tests/domain tests/recipe tests/store tests/formats tests/export tests/networks tests/evaluation tests/report \
	tests/cli/test_commands.py tests/review/test_review_server.py tests/verbs/test_predict.py tests/verbs/test_object_storage.py
PEERS := .venv-peers
PEERS_PIP := $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

.PHONY: page demo test test-review test-fuzz test-histories test-gpu lint bench bench-gpu bench-volumes bench-networks bench-quality bench-audit bench-memory bench-review bench-page bench-peers bench-loop bench-plans bench-report check-lowest check-machines check-package real setup clean help

help:   ## what there is
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: $(READY) $(if $(NPM),$(PAGE))   ## a virtual environment with smiler in it, and the review page

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e ".[dev]"
	$(COMPILE) $(VENV)/lib || true
	@touch $(READY)

page: $(PAGE)   ## the review page, built into the package (node >= 18.20 and npm)

$(PAGE): $(NODE_MODULES) $(wildcard web/*.json web/*.ts web/*.html) $(shell find web/src web/public web/licences -type f)
	npm --prefix web run --silent build
	@touch $(PAGE)

$(NODE_MODULES): web/package.json web/package-lock.json
	npm --prefix web ci --no-audit --no-fund --loglevel=error
	@touch $(NODE_MODULES)

demo: $(READY)   ## the whole method on a synthetic cohort, in minutes: demo/report.html
	$(BIN)/smiler demo --out demo

test: $(READY) $(if $(NPM),$(NODE_MODULES) $(PAGE))   ## all tests that need neither network, GPU nor real CT
	$(if $(NPM),npm --prefix web test --silent)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-review: $(READY) $(PAGE)   ## the tests of the review alone; those of its page need chromium
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests/review tests/review_page

test-histories: $(READY)   ## 2,000 random histories of a review: nothing that an expert said is lost; some twenty minutes
	OMP_NUM_THREADS=1 SMILER_HISTORIES=2000 $(BIN)/python -m pytest tests/review/test_review_histories.py --timeout 0

test-fuzz: $(READY)   ## 10,000 broken inputs for each reader of what strangers wrote; make test has 2,000
	SMILER_FUZZ_INPUTS=10000 $(BIN)/python -m pytest -n 2 tests/fuzz

test-gpu: $(READY)   ## what a GPU makes, against what the CPU makes
	$(BIN)/python -m pytest tests/gpu

lint: $(READY)   ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(READY)   ## speed of the pieces, as shares of the network's own time
	$(BIN)/python -m benchmarks.bench

bench-gpu: $(READY)   ## the same on a GPU, in bf16, about five minutes: results/bench/gpu.json
	$(BIN)/python -m benchmarks.gpu

bench-volumes: $(READY)   ## speed of the 3-D network beside the bare network
	$(BIN)/python -m benchmarks.volumes

bench-networks: $(READY)   ## a step of every network beside one of the U-Net: the table of docs/networks.md
	$(BIN)/python -m benchmarks.networks

bench-audit: $(READY)   ## the audit of 1,000 volumes: seconds and memory
	$(BIN)/python -m benchmarks.audit_scale

bench-memory: $(READY)   ## peak memory for 10, 100 and 1,000 volumes
	$(BIN)/python -m benchmarks.memory

bench-review: $(READY)   ## the review under load, killed again and again, and one large CT
	$(BIN)/python -m benchmarks.review_load

bench-page: $(READY) page   ## one large CT in a browser without a graphics card: first view, stroke saved
	$(BIN)/python -m benchmarks.review_page

bench-peers: $(PEERS)/.ready   ## smiler, MONAI and nnU-Net side by side on the same network and data, about an hour
	$(PEERS)/bin/python -m benchmarks.peers.run

bench-quality: $(PEERS)/.ready   ## Dice after 10, 30 and 60 minutes of one core: smiler, MONAI and nnU-Net on real CT; days, resumable
	$(PEERS)/bin/python -m benchmarks.quality.run

bench-loop: $(READY)   ## train, relabel, review, train again on the phantom; what the queue saves, about half an hour
	$(BIN)/python -m benchmarks.review_loop

bench-plans: $(READY)   ## smiler plan on five cohorts: memory said and used; results/plan/plans.json
	$(BIN)/python -m benchmarks.plans

bench-report: $(READY)   ## one page that compares the kept runs of make bench: results/bench/report.html
	$(BIN)/python -m benchmarks.report

$(PEERS)/.ready: pyproject.toml constraints.txt benchmarks/peers/requirements.txt benchmarks/peers/nnunet.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS_PIP) torch
	$(PEERS_PIP) -e . -r benchmarks/peers/requirements.txt
	$(PEERS_PIP) --no-deps -r benchmarks/peers/nnunet.txt
	$(COMPILE) $(PEERS)/lib || true
	@touch $(PEERS)/.ready

check-machines: $(READY)   ## Ray and torchrun over two network namespaces; needs root and iproute2
	$(BIN)/python -m benchmarks.two_machines

check-package: $(READY) page   ## sdist and wheel in dist/, with the review page and the notices of what is in it
	$(BIN)/python -m benchmarks.package

check-lowest: $(LOWEST)/.ready   ## tests with the lowest versions that pyproject.toml allows
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -o filterwarnings= $(LOWEST_TESTS)

$(LOWEST)/.ready: pyproject.toml constraints.txt benchmarks/lowest.py
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python benchmarks/lowest.py > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c $(LOWEST)/lowest.txt torch
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c $(LOWEST)/lowest.txt \
		-e ".[onnx,tracking,ray,cloud,swin,review]" pytest pytest-timeout hypothesis httpx flask flask-cors "moto[s3]"
	$(COMPILE) $(LOWEST)/lib || true
	@touch $(LOWEST)/.ready

real: $(READY)   ## the checks on real CT (SMILER_REAL_DATA or ../shared/data), with results under results/
	$(BIN)/python -m benchmarks.real_ct

clean:   ## forget the environment and the demo
	rm -rf $(VENV) $(PEERS) $(LOWEST) build dist demo web/node_modules src/smiler/review/page
