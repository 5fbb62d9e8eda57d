# Everything runs in .venv, which is made on first use. PYTHON picks the interpreter it is made with (3.11 or newer).
PYTHON ?= python3
RUN := .venv/bin/python
DEMO_DIR ?= runs/demo
# Extra options of the demo's training, e.g. DEMO_FLAGS=--config.train.steps=50
DEMO_FLAGS ?=

.PHONY: demo kernels test lint docs bench-cpu bench-gpu table1-cpu table1-gpu data-given clean

demo: .venv/installed kernels
	$(RUN) train.py --config configs/demo.py --workdir $(DEMO_DIR) $(DEMO_FLAGS)
	$(RUN) evaluate.py --ckpt $(DEMO_DIR) --split test --output $(DEMO_DIR)
	$(RUN) -m ddim_jax.data.export --output $(DEMO_DIR)/phantoms --split test --count 8
	$(RUN) sample.py --ckpt $(DEMO_DIR) --input $(DEMO_DIR)/phantoms/images --output $(DEMO_DIR)/segmented \
	  --save mask,probability,uncertainty,overlay
	@echo "See $(DEMO_DIR)/metrics.json, $(DEMO_DIR)/per_image.csv and the pictures in $(DEMO_DIR)/figures/ and $(DEMO_DIR)/segmented/"

# A process for each core; the tests of one file stay together, for they share what they compile. The files come in the
# order of tests/conftest.py: by the number of their tests, the longest would come last.
test: .venv/installed-test kernels
	$(RUN) -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: .venv/installed-test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

# The pages of docs/ as HTML in build/docs; warnings are errors.
docs: .venv/installed-docs
	$(RUN) -m sphinx -W --keep-going -b html docs build/docs

# Compiled CPU kernels: an optional extra that needs a C++ compiler. Without one everything works, slower.
kernels: .venv/kernels

.venv/kernels: .venv/installed $(wildcard ddim_jax/ops/cpu_kernels/*.cc ddim_jax/ops/cpu_kernels/*.h)
	-$(RUN) -m ddim_jax.ops.cpu_kernels
	touch $@

# Both write benchmarks/results/ and the tables in docs/; they need PyTorch (the `bench` extra) and an idle machine.
bench-cpu: .venv/installed-bench kernels
	$(RUN) -m benchmarks.speed --suite cpu
	$(RUN) -m benchmarks.render

bench-gpu: .venv/installed-bench
	$(RUN) -m benchmarks.speed --suite gpu
	$(RUN) -m benchmarks.render

# The comparison of the four systems; DATA lists data sets in the folder layout, by the directories they lie in.
# MedSegDiff takes 5000 evaluations for a picture and is scored on 15 pictures; docs/results.md has all on the same 15.
table1-cpu: data-given .venv/installed-bench kernels
	$(RUN) -m benchmarks.quality.table1 --data $(DATA) --budget 360 --size 64 --seeds 1 --limit medsegdiff=15
	$(RUN) -m benchmarks.render

table1-gpu: data-given .venv/installed-bench
	$(RUN) -m benchmarks.quality.table1 --data $(DATA) --budget 240 --size 128 --networks full --limit medsegdiff=15
	$(RUN) -m benchmarks.render

data-given:
	@test -n "$(strip $(DATA))" || { echo 'DATA is not set. It lists the folders of the data sets, each with images/ and' \
	  'masks/ in it: make table1-cpu DATA="data/lung_xray data/skin_lesion"' >&2; exit 2; }

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(RUN) -m pip install --quiet --editable '.[test]'
	touch $@

.venv/installed-docs: .venv/installed
	$(RUN) -m pip install --quiet --editable '.[docs]'
	touch $@

.venv/installed-bench: .venv/installed
	$(RUN) -m pip install --quiet --editable '.[bench]'
	touch $@

clean:
	rm -rf .venv runs/demo
