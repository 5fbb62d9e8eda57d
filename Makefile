# Everything runs in .venv, which is made on first use. PYTHON names another interpreter (3.11 or newer), which gets an
# environment of its own: make test PYTHON=python3.13 runs in .venv-python3.13.
PYTHON ?= python3
VENV := $(if $(filter file,$(origin PYTHON)),.venv,.venv-$(notdir $(PYTHON)))
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet
# As the extra `export` has it; by itself, for it asks for an older Orbax than the tests are to run with.
JAX2ONNX = $(shell grep -o 'jax2onnx>=[^"]*' pyproject.toml)
DEMO_DIR ?= runs/demo
# Extra options of the demo's training, e.g. DEMO_FLAGS=--config.train.steps=50
DEMO_FLAGS ?=

.PHONY: demo installed kernels test test-all test-long lint docs bench-cpu bench-gpu table1-cpu table1-gpu data-given clean

demo: $(VENV)/installed kernels
	$(RUN) train.py --config configs/demo.py --workdir $(DEMO_DIR) $(DEMO_FLAGS)
	$(RUN) evaluate.py --ckpt $(DEMO_DIR) --split test --output $(DEMO_DIR)
	$(RUN) -m ddim_jax.data.export --output $(DEMO_DIR)/phantoms --split test --count 8
	$(RUN) sample.py --ckpt $(DEMO_DIR) --input $(DEMO_DIR)/phantoms/images --output $(DEMO_DIR)/segmented \
	  --save mask,probability,uncertainty,overlay
	@echo "See $(DEMO_DIR)/metrics.json, $(DEMO_DIR)/per_image.csv and the images in $(DEMO_DIR)/figures/ and $(DEMO_DIR)/segmented/"

# Everything quick, the networks against PyTorch's among it: minutes. test-all adds tests/slow: programs that are started,
# killed and damaged. test-long is the rest: both suites of the benchmark, and the largest images.
# Where a compiler is found, kernels that are missing are an error, and no tests left out.
# A process for each core; the tests of one file stay together, for they share their fixtures. The files come in the order
# of tests/conftest.py: by the number of their tests, the longest would come last. What is compiled is kept for the next
# run, in the user's cache folder or in DDIM_JAX_TEST_CACHE.
PYTEST := -m pytest -n auto --dist loadfile --no-loadscope-reorder

test: $(VENV)/installed-test $(VENV)/installed-bench kernels
	$(RUN) $(PYTEST) tests/unit -m "not slow"

test-all: $(VENV)/installed-test $(VENV)/installed-bench kernels
	$(RUN) $(PYTEST) -m "not long"

test test-all test-long: export DDIM_JAX_REQUIRE_KERNELS = 1

test-long: $(VENV)/installed-test $(VENV)/installed-bench kernels
	$(RUN) -m pytest -m long

lint: $(VENV)/installed-test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

# The pages of docs/ as HTML in build/docs; warnings are errors.
docs: $(VENV)/installed-docs
	$(RUN) -m sphinx -W --keep-going -b html docs build/docs

# Compiled CPU kernels: an optional extra that needs a C++ compiler. Without one everything works, slower.
# Where they are there already this says so: whether they are is a matter of sources, jaxlib and processor.
kernels: $(VENV)/installed
	-$(RUN) -m ddim_jax.ops.cpu_kernels

# Both write benchmarks/results/ and the tables in docs/; they need PyTorch (the `bench` extra) and an idle machine.
# cpu.json and small.json are of AVX2; a processor with other vectors is told to write elsewhere (--output).
bench-cpu: $(VENV)/installed-bench kernels
	$(RUN) -m benchmarks.speed --suite cpu
	$(RUN) -m benchmarks.speed --suite small
	$(RUN) -m benchmarks.render

# In order of value, for a machine that is lent for minutes; what fails in the first part is tried again in the last.
bench-gpu: $(VENV)/installed-bench
	-$(RUN) -m benchmarks.speed --suite gpu --dtypes bfloat16 --cases train_step segment --models lightweight_ddim trunk_ddim
	-$(RUN) -m benchmarks.speed.archive --network recommended --count 3000 --size 256
	$(RUN) -m benchmarks.speed --suite gpu --resume
	$(RUN) -m benchmarks.render

# The comparison of the systems; DATA lists data sets in the folder layout, by the directories they lie in.
# MedSegDiff takes 5000 evaluations for an image and is scored on 15 images; the page Results has all on the same 15.
table1-cpu: data-given $(VENV)/installed kernels
	$(RUN) -m benchmarks.quality.table1 --data $(DATA) --budget 360 --size 64 --seeds 1 --limit medsegdiff=15
	$(RUN) -m benchmarks.render

table1-gpu: data-given $(VENV)/installed
	$(RUN) -m benchmarks.quality.table1 --data $(DATA) --budget 240 --size 128 --networks full --limit medsegdiff=15
	$(RUN) -m benchmarks.render

data-given:
	@test -n "$(strip $(DATA))" || { echo 'DATA is not set. It lists the folders of the data sets, each with images/ and' \
	  'masks/ in it: make table1-cpu DATA="data/lung_xray data/skin_lesion"' >&2; exit 2; }

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) --editable '.[test]'
	$(PIP) --no-deps '$(JAX2ONNX)'
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) --editable '.[docs]'
	touch $@

$(VENV)/installed-bench: $(VENV)/installed
	$(PIP) --editable '.[bench]'
	touch $@

# All of these at once, in less time.
installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[test,docs,bench]'
	$(PIP) --no-deps '$(JAX2ONNX)'
	touch $(VENV)/installed $(VENV)/installed-test $(VENV)/installed-docs $(VENV)/installed-bench

clean:
	rm -rf .venv .venv-* build runs/demo
