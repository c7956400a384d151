"""Where files of the user's go, on every platform."""

import sys

import pytest

from facelift_core import user_dirs


@pytest.mark.parametrize("platform", ["linux", "win32", "darwin"])
def test_clearing_the_cache_cannot_reach_runtime_and_weights(platform, monkeypatch, tmp_path):
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(user_dirs.Path, "home", lambda: tmp_path)
    cache, data = user_dirs.cache_folder(), user_dirs.data_folder()
    assert cache != data and cache not in data.parents, "clearing the cache would delete the data"
    assert cache.is_relative_to(tmp_path) and data.is_relative_to(tmp_path)
