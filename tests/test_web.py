"""The web page: the viewer is the one that npm has, and a real browser shows what our renderer draws."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import time

import browser
import numpy as np
import pytest
import torch
from PIL import Image
from test_formats import ball, splats

from facelift_core.cli import main
from facelift_core.errors import FaceLiftError
from facelift_core.gaussians.files import write
from facelift_core.rendering import render
from facelift_core.rendering.cameras import intrinsics, orbit
from facelift_core.rendering.metrics import psnr
from facelift_core.web import FOLDER, MODULES, Look, framing, write_page


def test_the_viewer_is_the_one_of_npm():
    sums = dict(line.split()[::-1] for line in (FOLDER / "vendor" / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == set(MODULES.values())
    for name, expected in sums.items():
        content = gzip.decompress((FOLDER / "vendor" / f"{name}.gz").read_bytes())
        assert hashlib.sha256(content).hexdigest() == expected, name
    assert {path.name for path in (FOLDER / "vendor").glob("LICENSE.*")} == {"LICENSE.three", "LICENSE.spark"}


def test_the_page_contains_everything_and_its_licenses(tmp_path):
    write_page(splats(), tmp_path / "a.html", Look(title="<b>&", poster=b"\x89PNG", azimuth=30))
    page = (tmp_path / "a.html").read_text("utf-8")
    assert "{{" not in page and "<title>&lt;b&gt;&amp;</title>" in page and "data:image/png;base64," in page
    ours = re.sub(r"<!--.*?-->|[\w+/=]{200,}", "", page, flags=re.DOTALL)
    assert "http" not in ours and 'src="data:' in ours
    assert page.count("Permission is hereby granted") == 2 and "World Labs".upper() in page


def test_what_is_wrong_is_said(tmp_path):
    for look, words in ((Look(background="red"), "not a color"), (Look(poster=b"GIF89a"), "must be a PNG")):
        with pytest.raises(FaceLiftError, match=words):
            write_page(splats(), tmp_path / "a.html", look)
    with pytest.raises(FaceLiftError, match="no Gaussians"):
        write_page(splats()[:0], tmp_path / "a.html")
    assert not list(tmp_path.iterdir())
    write(splats(), tmp_path / "a.ply")
    assert main(["view", str(tmp_path / "a.ply"), "-o", str(tmp_path / "a.txt")]) == 2
    assert main(["view", str(tmp_path / "a.ply"), "-o", str(tmp_path / "none" / "a.html")]) == 1


def test_a_scene_of_another_size_is_framed():
    assert framing(splats().positions)[1] == 2.7
    far = splats().positions * 50 + 400
    target, distance = framing(far)
    assert np.abs(target - 400).max() < 5 and 100 < distance < 400


needs_browser = pytest.mark.skipif(not browser.BROWSER, reason="needs Chromium; its path goes into FACELIFT_BROWSER")


def shown(path, folder, done, size: int = 256) -> torch.Tensor:
    """(3, H, W) picture of the page in the browser, from 0 to 1, once it is `done`, or as it is after a minute.

    A busy machine sorts the Gaussians, and shows the frame, later than the page says.
    """
    with browser.page(size, folder) as page:
        page.open(path)
        page.wait("document.documentElement.dataset.shown", 90)
        end = time.monotonic() + 60
        while True:
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            found = torch.from_numpy(np.asarray(picture, np.float32) / 255).permute(2, 0, 1)
            if done(found) or time.monotonic() > end:
                return found
            time.sleep(0.5)


@needs_browser
@pytest.mark.parametrize(("azimuth", "degree", "background"), [(0, 0, "#ffffff"), (65, 3, "#204060")])
def test_the_browser_shows_what_our_renderer_draws(azimuth, degree, background, tmp_path):
    head = ball(degree=degree)
    look = Look(auto_rotate=False, azimuth=azimuth, elevation=10, background=background)
    write_page(head, tmp_path / "a.html", look)
    color = tuple(int(background[i : i + 2], 16) / 255 for i in (1, 3, 5))
    camera = orbit(torch.tensor([270.0 + azimuth]), 10.0)
    expected = render(head.to_gaussians(), camera, intrinsics(256), 256, 256, color)[0].permute(2, 0, 1)
    found = shown(tmp_path / "a.html", tmp_path / "profile", lambda picture: psnr(picture, expected.clamp(0, 1)) > 45)
    assert psnr(found, expected.clamp(0, 1)) > 45
    assert psnr(found, torch.tensor(color)[:, None, None].expand_as(found)) < 20  # not the empty page


@needs_browser
def test_facelift_view_in_the_browser(tmp_path):
    write(ball(), tmp_path / "a.spz")
    page = tmp_path / "a.html"
    assert main(["view", str(tmp_path / "a.spz"), "-o", str(page), "--background", "navy"]) == 0
    with browser.page(200, tmp_path / "profile") as tab:
        tab.open(page)
        assert tab.wait("document.documentElement.dataset.shown", 90) == "6000"
        assert tab.value("document.getElementById('poster').src.startsWith('data:image/jpeg')")
        first = tab.screenshot()
        tab.wait("document.getElementById('poster').classList.contains('gone')", 9)
        tab.call("Runtime.evaluate", expression="new Promise(done => setTimeout(done, 1500))", awaitPromise=True)
        assert tab.screenshot() != first  # it turns
        assert tab.value("document.getElementById('message').hidden")
