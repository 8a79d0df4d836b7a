# `make train` and `make test` are all that a newcomer needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DATA   := examples/data/phrasebook
# the translator that `make bench` needs, where the data to train it on are
TRANSLATOR := $(if $(wildcard ../shared/data/ted-en-fr),runs/bench-translator/model.safetensors)

# two test processes share two cores
test test-all: export OMP_NUM_THREADS := 1

.PHONY: train test test-all conformance mutations ecosystem bench profile bench-attention comparisons code-lines lint clean

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

mutations: $(VENV)/installed  ## break the code in small ways, one after the other: the tests must notice each
	$(BIN)/python tests/mutations/run.py $(if $(ROOM),--room $(ROOM))

ecosystem: $(VENV)/ecosystem  ## PEFT, TRL, quantisation and others on our models, into docs/ecosystem.md: some 5 minutes
	$(BIN)/python tests/ecosystem/run.py

bench: $(VENV)/bench $(TRANSLATOR)  ## time and memory beside other packages, into docs/benchmarks.md; BASE=commit: beside that commit
	$(BIN)/python benchmarks/bench.py $(if $(BASE),--base $(BASE)) $(if $(ONLY),--only "$(ONLY)")

profile: $(VENV)/bench  ## where the time of a line of `make bench` goes, by module; ONLY="greedy" chooses the line
	$(BIN)/python benchmarks/profile_modules.py $(if $(ONLY),"$(ONLY)")

bench-attention: $(VENV)/installed  ## memory and speed of attention by encoding and backend, and long inputs: some 55 minutes alone on 2 cores
	$(BIN)/python benchmarks/attention.py

comparisons: $(VENV)/installed  ## Transformer, LSTM and convolutions compared: tables and plots of docs/comparisons.md, some 55 minutes alone on a core; ONLY=recall: one part; AGAIN=1: measure it again
	$(BIN)/python benchmarks/comparisons.py $(if $(ONLY),--only $(ONLY)) $(if $(AGAIN),--again)

code-lines: $(VENV)/installed  ## lines of code: subpackages, a saved model, transformers' families
	$(BIN)/python -I tests/code_lines.py

lint: $(VENV)/installed  ## style, format, types of the installed package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/check_types.py

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV): torch, transformers and the test tools, some 2 GB, a few minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e ".[plots,vision,convert,export,search,test,dev]"
	touch $@

$(VENV)/bench: $(VENV)/installed
	$(BIN)/pip install --quiet -c constraints.txt -e ".[bench]"
	touch $@

runs/bench-translator/model.safetensors: | $(VENV)/installed
	$(BIN)/locant train benchmarks/translator.yaml

$(VENV)/ecosystem: $(VENV)/installed
	$(BIN)/pip install --quiet -c constraints.txt -e ".[ecosystem]"
	touch $@

clean:
	rm -rf $(VENV) .conformance build *.egg-info
