# Every target sets up what it needs: a virtual environment in .venv with the versions pinned in pyproject.toml.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
PHOTO ?= tests/data/portrait.jpg
OUT ?= out
VENV := .venv

.PHONY: setup head test clean

setup: $(VENV)/installed

# A portrait to a 3D head: out/head.ply, its six views and a turntable.
head: $(VENV)/installed
	mkdir -p $(OUT)
	$(VENV)/bin/facelift reconstruct "$(PHOTO)" -o "$(OUT)/head.ply" --views "$(OUT)/head_views.png" --turntable "$(OUT)/head.mp4"

test: $(VENV)/installed-test
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/python -m pytest

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable ".[test]"
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) $(OUT) build dist *.egg-info
