"""Small checkpoints in the released layout, made of the goldens."""

import json
import os
import shutil
from pathlib import Path

import pytest

# Before PyTorch is imported: threads that wait in a loop make small networks minutes slow where the cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

GOLDENS = Path(__file__).parent / "goldens"


def copy_checkpoint(folder: Path) -> Path:
    """The goldens' multi-view diffusion (views of 64²) and GS-LRM as one checkpoint in `folder`."""
    shutil.copytree(GOLDENS / "mvdiffusion", folder / "mvdiffusion")
    (folder / "gslrm").mkdir()
    for file in (GOLDENS / "gslrm").glob("ckpt_*.pt"):
        shutil.copy(file, folder / "gslrm")
    (folder / "gslrm" / "config.json").write_text(json.dumps({"head_dim": 16, "sh_degree": 0}))
    return folder


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory) -> Path:
    """A checkpoint to read only."""
    return copy_checkpoint(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def own_weights_folder(tmp_path) -> Path:
    """A checkpoint that the test may damage."""
    (tmp_path / "own").mkdir()
    return copy_checkpoint(tmp_path / "own")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> None:
    """Nothing of a test's ends in the user's cache, and nothing in it changes a test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
