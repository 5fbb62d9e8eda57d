# Everything runs in .venv, which is made on first use. PYTHON picks the interpreter it is made with (3.11 or newer).
PYTHON ?= python3
RUN := .venv/bin/python
DEMO_DIR ?= runs/demo
# Extra options of the demo's training, e.g. DEMO_FLAGS=--config.train.steps=50
DEMO_FLAGS ?=

.PHONY: demo test lint clean

demo: .venv/installed
	$(RUN) train.py --config configs/demo.py --workdir $(DEMO_DIR) $(DEMO_FLAGS)
	$(RUN) evaluate.py --ckpt $(DEMO_DIR) --split test --output $(DEMO_DIR)
	$(RUN) -m ddim_jax.data.export --output $(DEMO_DIR)/phantoms --split test --count 8
	$(RUN) sample.py --ckpt $(DEMO_DIR) --input $(DEMO_DIR)/phantoms/images --output $(DEMO_DIR)/segmented \
	  --save mask,probability,uncertainty,overlay
	@echo "See $(DEMO_DIR)/metrics.json, $(DEMO_DIR)/per_image.csv and the pictures in $(DEMO_DIR)/figures/ and $(DEMO_DIR)/segmented/"

test: .venv/installed-test
	$(RUN) -m pytest

lint: .venv/installed-test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(RUN) -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf .venv runs/demo
