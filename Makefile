# make demo       train an energy network on MNIST, about three minutes on two cores, pictures in runs/mnist
# make test       every test but the next
# make mutants    the library with one seeded bug after the other, each killed by its test
# make notebooks  execute the course, about twelve minutes; OUT=FOLDER writes it elsewhere, JOBS=2 is sooner
# make check      lint, format, types
# make docs       the documentation in site/, every page opened in Chromium where that is installed
# All of them make .venv by themselves, and may be run again at will.

PYTHON ?= python3
BIN := .venv/bin
RUN ?= runs/mnist
OUT ?= notebooks
JOBS ?= 1

.PHONY: demo test mutants check notebooks docs clean

demo: .venv/demo.installed
	@if [ -e $(RUN)/config.json ]; then \
	  $(BIN)/python -m ebmjax train --resume $(RUN); \
	else \
	  $(BIN)/python -m ebmjax train --data mnist --out $(RUN); \
	fi

test: .venv/test.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=30 --ignore tests/test_mutants.py

mutants: .venv/test.installed
	$(BIN)/python -m pytest -n 2 tests/test_mutants.py

check: .venv/test.installed
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

docs: .venv/docs.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(BIN)/python docs/check_pages.py site

clean:
	rm -rf .venv site

# A bare environment needs no ensurepip; the pip outside fills it.
.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ebmjax needs Python 3.11 or later")'
	$(PYTHON) -m venv --without-pip .venv

.venv/%.installed: setup.cfg pyproject.toml | .venv/bin/python
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --editable '.[$*]'
	@touch $@

# Each notebook is a script; executed, with its pictures, it lies beside it.
notebooks: .venv/notebooks.installed
	$(BIN)/python notebooks/execute.py --out $(OUT) --jobs $(JOBS)
