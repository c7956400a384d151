"""Small checkpoints, made of the goldens."""

import json
import shutil
from pathlib import Path

GOLDENS = Path(__file__).parent / "goldens"


def copy_checkpoint(folder: Path) -> Path:
    """The goldens' multi-view diffusion (views of 64²) and GS-LRM as one checkpoint in `folder`."""
    shutil.copytree(GOLDENS / "mvdiffusion", folder / "mvdiffusion")
    (folder / "gslrm").mkdir()
    for file in (GOLDENS / "gslrm").glob("ckpt_*.pt"):
        shutil.copy(file, folder / "gslrm")
    (folder / "gslrm" / "config.json").write_text(json.dumps({"head_dim": 16, "sh_degree": 0}))
    return folder
