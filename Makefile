# Every target installs what it needs, in virtual environments .venv*, with the versions of requirements.txt and of this file.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
PYTHON311 ?= python3.11
PYTHON313 ?= python3.13
PHOTO ?= tests/data/portrait.jpg
OUT ?= out
VENV := .venv

# The bpy wheels of the Blender generations that the extension is tested in; each needs one certain Python.
BPY_FOR_311 := 4.2.23 4.5.15 5.0.1
BPY_FOR_313 := 5.1.2 5.2.3 5.3.0
BPY := $(BPY_FOR_311) $(BPY_FOR_313)
HEADLESS := .venv-bpy-4.5.15

space := $(subst ,, )
bpy_pythons := $(subst $(space),:,$(foreach version,$(BPY),$(CURDIR)/.venv-bpy-$(version)/bin/python))

# `mini` learns on where a graphics card is lent: with a Python that has what training needs, nothing is installed.
MINUTES ?= 6
MINI ?= facelift_core/weights/mini
TRAINING_PYTHON ?= $(VENV)/bin/python

TRITON := 3.7.1

.PHONY: setup head lock fuzz endurance test test-slow test-triton test-setup test-blender extension api release mini-on-gpu clean

setup: $(VENV)/installed

# A portrait to a 3D head: out/head.ply, its six views, out/head.blend and a Cycles render of it.
head: $(VENV)/installed $(HEADLESS)/installed
	mkdir -p "$(OUT)"
	$(VENV)/bin/facelift reconstruct "$(PHOTO)" -o "$(OUT)/head.ply" --views "$(OUT)/head_views.png"
	$(HEADLESS)/bin/python -m facelift_blender.headless --head "$(OUT)/head.ply" -o "$(OUT)/head.blend" --render "$(OUT)/head.png"

test: $(VENV)/installed-test
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/python docs/make_api.py --check
	$(VENV)/bin/python -m pytest

# Training, measured memory, installing over and over: what takes long.
test-slow: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest -m slow

# The kernels for graphics cards, by Triton's interpreter. A target of its own, because Triton takes 0.7 GB.
test-triton: $(VENV)/installed-triton
	$(VENV)/bin/python -m pytest tests/test_fused.py

# facelift_core/environment/lock.txt: what the runtime gets, from requirements.txt.
lock: $(VENV)/installed-test
	$(VENV)/bin/python -m pip install --quiet uv==0.13.9
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header requirements.txt -o $(OUT)/lock.txt
	{ head -n 1 facelift_core/environment/lock.txt; cat $(OUT)/lock.txt; } > $(OUT)/lock.new
	mv $(OUT)/lock.new facelift_core/environment/lock.txt

# 3,000 damaged inputs for every parser, always the same ones.
fuzz: $(VENV)/installed-test
	$(VENV)/bin/python tests/fuzz.py

# Everything again and again, interrupted, and counted; under an hour, and prints the table of docs/reliability.md.
endurance: $(VENV)/installed-test $(HEADLESS)/installed
	FACELIFT_BPY_PYTHONS="$(CURDIR)/$(HEADLESS)/bin/python" $(VENV)/bin/python tests/endurance.py

# From an empty user folder to a head, with the real packages from pip's index and small weights from a hub on this machine.
test-setup: $(VENV)/installed-test
	FACELIFT_TEST_SETUP=1 $(VENV)/bin/python -m pytest tests/test_first_run.py

# The real extension in six Blender generations.
test-blender: $(VENV)/installed-test $(BPY:%=.venv-bpy-%/installed)
	FACELIFT_BPY_PYTHONS="$(bpy_pythons)" FACELIFT_PYTHON="$(CURDIR)/$(VENV)/bin/python" \
		$(VENV)/bin/python -m pytest tests/test_blender_*.py

# The extension's zip and the index of a repository for it, in dist/.
extension: $(HEADLESS)/installed
	$(HEADLESS)/bin/python build.py

# docs/api.md, from the docstrings.
api: $(VENV)/installed-test
	$(VENV)/bin/python docs/make_api.py

# Everything that a release consists of, in dist/: zip, repository index, release notes from CHANGELOG.md, SHA256SUMS.
release: $(HEADLESS)/installed
	$(HEADLESS)/bin/python build.py --release

# Ends by itself; what is better on held-out heads than before replaces the files in $(MINI).
mini-on-gpu: $(if $(filter $(VENV)/%,$(TRAINING_PYTHON)),$(VENV)/installed-training)
	"$(TRAINING_PYTHON)" -m facelift_core.training.cli improve --weights mini --into "$(MINI)" -o "$(OUT)/mini" --minutes $(MINUTES) $(MORE)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml requirements.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --constraint requirements.txt --editable .
	touch $@

$(VENV)/installed-test: pyproject.toml requirements.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --constraint requirements.txt --editable ".[test]"
	touch $@ $(VENV)/installed

$(VENV)/installed-triton: $(VENV)/installed-test
	$(VENV)/bin/python -m pip install --quiet triton==$(TRITON)
	touch $@

$(VENV)/installed-training: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --constraint requirements.txt --editable ".[training]"
	touch $@

$(BPY_FOR_311:%=.venv-bpy-%/installed): python = $(PYTHON311)
$(BPY_FOR_311:%=.venv-bpy-%/installed): minor = 11
$(BPY_FOR_313:%=.venv-bpy-%/installed): python = $(PYTHON313)
$(BPY_FOR_313:%=.venv-bpy-%/installed): minor = 13
.venv-bpy-%/installed:
	@"$(python)" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, $(minor)))' 2>/dev/null || { \
		echo "Blender $* as the package bpy needs Python 3.$(minor) with venv, and $(python) is none:" \
			"install it, or name it: make PYTHON3$(minor)=/path/to/python3.$(minor) …" >&2; exit 1; }
	"$(python)" -m venv --clear .venv-bpy-$*
	.venv-bpy-$*/bin/python -m pip install --quiet bpy==$*
	touch $@

clean:
	rm -rf .venv .venv-bpy-* $(OUT) build dist *.egg-info
