"""What the tests of faces and of reports use."""

from pathlib import Path

import pytest
from PIL import Image

PORTRAIT = Path(__file__).parents[1] / "data" / "portrait.jpg"


@pytest.fixture
def no_rembg_model(tmp_path, monkeypatch):
    """Whatever is installed on this machine, "auto" does not find U²-Net."""
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "no models"))


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.open(PORTRAIT).convert("RGB")
