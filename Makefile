# `make train` and `make test` are all that a newcomer needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DATA   := examples/data/phrasebook
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# the translator that `make bench` needs, where the data to train it on are
TRANSLATOR := $(if $(wildcard ../shared/data/ted-en-fr),runs/bench-translator/model.safetensors)

# two test processes share two cores
test test-end-to-end test-all: export OMP_NUM_THREADS := 1

.PHONY: train test test-end-to-end test-all conformance mutations ecosystem bench profile bench-attention comparisons concept-pictures code-lines lint docs release wheel-test clean

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
	$(BIN)/python -m pytest -m "not slow and not end_to_end" -n 2

test-end-to-end: $(VENV)/installed  ## the tests that take seconds, because they train, compile, export, serve, or use a Hub
	$(BIN)/python -m pytest -m "end_to_end and not slow" -n 2

test-all: $(VENV)/docs  ## all tests
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

concept-pictures: $(VENV)/installed runs/phrasebook/model.safetensors runs/phrasebook-600/model.safetensors  ## the pictures of docs/concepts
	$(BIN)/python benchmarks/concept_pictures.py

comparisons: $(VENV)/installed  ## Transformer, LSTM and convolutions compared: tables and plots of docs/comparisons.md, some 55 minutes alone on a core; ONLY=recall: one part; AGAIN=1: measure it again
	$(BIN)/python benchmarks/comparisons.py $(if $(ONLY),--only $(ONLY)) $(if $(AGAIN),--again)

code-lines: $(VENV)/installed  ## lines of code: subpackages, a saved model, transformers' families
	$(BIN)/python -I tests/code_lines.py

lint: $(VENV)/installed  ## style, format, types of the installed package, schemas of the GitHub files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/check_types.py
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[bf]*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.citation-file-format CITATION.cff

docs: $(VENV)/docs docs/assets/katex  ## the site, into site/index.html; a broken link is an error
	rm -rf build/reference build/lib
	$(BIN)/pip install --quiet --no-deps --target build/reference .
	$(BIN)/zensical build --clean --strict

release: lint docs $(VENV)/release  ## wheel and sdist in dist/, checked; the commands that publish them
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	@echo "To publish: git tag v$(VERSION) && git push origin v$(VERSION) && $(BIN)/twine upload dist/*"

wheel-test: $(VENV)/release  ## the wheel in an empty environment: a new phrasebook, and 100 steps of training on it
	rm -rf build dist
	$(BIN)/python -m build
	$(PYTHON) -m venv build/empty
	build/empty/bin/pip install --quiet dist/*.whl
	build/empty/bin/locant new phrasebook build/phrasebook
	cd build/phrasebook && ../empty/bin/locant train phrasebook.yaml --max_steps 100

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV): torch, transformers and the test tools, some 2 GB, a few minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e ".[plots,vision,convert,export,search,serve,demo,test,browser,dev]"
	touch $@

$(VENV)/bench: $(VENV)/installed
	$(BIN)/pip install --quiet -c constraints.txt -e ".[bench]"
	touch $@

runs/bench-translator/model.safetensors: | $(VENV)/installed
	$(BIN)/locant train benchmarks/translator.yaml

$(VENV)/docs: $(VENV)/installed
	$(BIN)/pip install --quiet -c constraints.txt -e ".[docs,browser]"
	touch $@

$(VENV)/release: $(VENV)/installed
	$(BIN)/pip install --quiet -c constraints.txt -e ".[release]"
	touch $@

# the browser's code for formulas, and for the search in a site that is opened from the disk
docs/assets/katex:
	npm install --silent --no-save --ignore-scripts --prefix build/npm katex@0.19.1 iframe-worker@1.0.4
	cp build/npm/node_modules/iframe-worker/shim/index.js docs/assets/iframe-worker.js
	mkdir $@
	cd build/npm/node_modules/katex/dist && cp -r katex.min.css katex.min.js contrib/auto-render.min.js fonts $(CURDIR)/$@

runs/phrasebook/model.safetensors: | $(VENV)/installed
	$(MAKE) train

# an overfitted translator: the first 600 pairs of the phrasebook, 80 passes, validated on the first 100 pairs
runs/phrasebook-600/model.safetensors: | runs/phrasebook/model.safetensors
	for language in en fr; do \
		head -n 600 $(DATA)/train.$$language > $(DATA)/train-600.$$language; \
		head -n 100 $(DATA)/dev.$$language > $(DATA)/dev-100.$$language; \
	done
	$(BIN)/locant train examples/phrasebook.yaml --output_dir runs/phrasebook-600 --num_train_epochs 80 \
		--train_file $(DATA)/train-600.en $(DATA)/train-600.fr \
		--validation_file $(DATA)/dev-100.en $(DATA)/dev-100.fr \
		--eval_strategy steps --eval_steps 40 --save_strategy steps --save_steps 40 --label_smoothing 0

$(VENV)/ecosystem: $(VENV)/installed
	$(BIN)/pip install --quiet -c constraints.txt -e ".[ecosystem]"
	touch $@

clean:
	rm -rf $(VENV) .conformance build dist site docs/assets/katex docs/assets/iframe-worker.js *.egg-info
