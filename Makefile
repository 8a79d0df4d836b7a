# The first two are all that a newcomer needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DATA   := examples/data/phrasebook

# two test processes share two cores
test test-all: export OMP_NUM_THREADS := 1

.PHONY: train test test-all conformance ecosystem benchmarks lint clean

train: $(VENV)/installed  ## train a translator on the phrasebook, measure it, show ten translations
	$(BIN)/python examples/phrasebook.py --output_dir $(DATA)
	$(BIN)/locant train examples/phrasebook.yaml
	@echo
	@echo "Ten sentences that it never saw:"
	@head -n 10 $(DATA)/test.en
	@echo
	@head -n 10 $(DATA)/test.en | $(BIN)/locant translate runs/phrasebook --no_progress
	@echo
	@echo "The model is in runs/phrasebook; try: echo 'The cat sees the dog.' | $(BIN)/locant translate runs/phrasebook"

test: $(VENV)/installed  ## the fast tests
	$(BIN)/python -m pytest -m "not slow" -n 2

test-all: $(VENV)/installed  ## all tests
	$(BIN)/python -m pytest -n 2

conformance: $(VENV)/installed  ## Hugging Face's own model tests, on Locant and on a built-in model of each kind
	$(BIN)/python tests/conformance/run.py

ecosystem: $(VENV)/ecosystem  ## PEFT, TRL, quantisation and others on our models, into docs/ecosystem.md: some 5 minutes
	$(BIN)/python tests/ecosystem/run.py

benchmarks: $(VENV)/installed  ## memory and speed of attention, into docs/benchmarks.md: some 20 minutes alone on 2 cores
	$(BIN)/python benchmarks/run.py

lint: $(VENV)/installed  ## style, format, types of the installed package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/check_types.py

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV): torch, transformers and the test tools, some 2 GB, a few minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e ".[plots,vision,convert,export,test,dev]"
	touch $@

$(VENV)/ecosystem: $(VENV)/installed
	$(BIN)/pip install --quiet -c constraints.txt -e ".[ecosystem]"
	touch $@

clean:
	rm -rf $(VENV) .conformance build *.egg-info
