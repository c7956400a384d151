"""Getting the released weights, against a server on this machine that speaks the hub's protocol."""

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from local_hub import LICENCE, LocalHub, repository_of
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import facelift_core as fl
from facelift_core.cli import main
from facelift_core.errors import Cancelled
from facelift_core.jobs.weights import Request, run
from facelift_core.multiview.prompts import embed_prompts
from facelift_core.progress import Monitor
from facelift_core.weights import convert as conversion
from facelift_core.weights import download as downloading
from facelift_core.weights import import_files as importing
from facelift_core.weights import licence, store
from facelift_core.weights import verify as verification
from facelift_core.weights.catalogue import VARIABLE, converted_files, load_catalogue
from facelift_core.weights.inventory import ready_folder, remove, status
from facelift_core.weights.layout import find_checkpoint
from facelift_core.weights.state_dict import load_state_dict
from facelift_core.weights.store import Store
from facelift_core.weights.verify import verify

GOLDENS = Path(__file__).parent / "goldens"
PIPELINE = "mvdiffusion/pipeckpts"
GSLRM = "gslrm/ckpt_0000000000021125.pt"
UNET = f"{PIPELINE}/unet/diffusion_pytorch_model.safetensors"
QUICK = (0.0, 0.0)


@pytest.fixture(scope="module")
def repository(weights_folder) -> dict[str, bytes]:
    return repository_of(weights_folder)


@pytest.fixture
def hub(repository, monkeypatch):
    with LocalHub(dict(repository)) as hub:
        for name, value in hub.environment.items():
            monkeypatch.setenv(name, value)
        # huggingface_hub reads these once, at its import, which other tests may have caused.
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
        monkeypatch.setenv("HF_HOME", "/nonexistent")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub


@pytest.fixture
def empty(hub, tmp_path) -> Store:
    """A store in which nothing is yet."""
    return Store(hub.catalogue(), tmp_path / "weights")


@pytest.fixture
def own(empty) -> Store:
    """A store whose licence is accepted."""
    accept(empty)
    return empty


@pytest.fixture
def downloaded(own, repository) -> Store:
    """A store with all originals."""
    write(own.original, repository)
    return own


def accept(own: Store) -> None:
    licence.keep_text(own, LICENCE.encode())
    licence.accept(own)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def download(own: Store, cancelled=None, progress=None, waits=QUICK, **arguments) -> None:
    downloading.download(own, Monitor("download", progress, cancelled), waits=waits, **arguments)


def refusal(call, *arguments, **named) -> str:
    """The sentence with which it refuses."""
    with pytest.raises(fl.FaceLiftError) as caught:
        call(*arguments, **named)
    message = str(caught.value)
    assert "\n" not in message and 20 < len(message) < 500
    return message


def whole(own: Store, repository: dict[str, bytes]) -> bool:
    return all((own.original / path).read_bytes() == content for path, content in repository.items())


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# --- The catalogue ---


def test_the_built_in_catalogue_is_complete(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    catalogue = load_catalogue()
    weights = [path for path in catalogue.files if path.endswith((".pt", ".safetensors"))]
    assert len(weights) == 6 and all(catalogue.files[path] for path in weights)
    assert all(path in converted_files(catalogue) for path in catalogue.files if path.endswith("config.json") and
               "text_encoder" not in path and "tokenizer" not in path)  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"LICENSE": None, "../evil": None}},
        {"files": {"LICENSE": None, "/etc/evil": None}},
        {"files": {"LICENSE": None, "a\\..\\b": None}},
        {"files": {"LICENSE": "123"}},
        {"files": {"a.json": None}},
        {"files": []},
        {"revision": "../.."},
        {"name": "a/b"},
        {"download_bytes": "9"},
        {"licence": None},
        {"unknown": 1},
    ],
)
def test_catalogues_that_are_none(hub, tmp_path, change):
    path = hub.write_catalogue(tmp_path / "c.json")
    assert load_catalogue(path) == hub.catalogue()
    path.write_text(json.dumps({**hub.catalogue_data(), **change}))
    assert "not a catalogue" in refusal(load_catalogue, path)
    assert "Cannot read" in refusal(load_catalogue, tmp_path / "none.json")


# --- Download ---


def test_a_download_brings_every_file_and_nothing_else(hub, own, repository):
    fractions = []
    download(own, progress=lambda stage, fraction, message: fractions.append((fraction, message)))
    assert whole(own, repository) and names(own.original) == set(repository)
    assert [f for f, _ in fractions] == sorted(f for f, _ in fractions)
    assert any(message.startswith("Downloading: ") and " of " in message for _, message in fractions)
    before = len(hub.requests)
    download(own)
    assert [path for _, path, _ in hub.requests[before:]] == ["api"], "what is there is not fetched again"


def test_a_connection_that_is_cut_is_taken_up_where_it_broke(hub, own, repository):
    hub.cut[UNET] = [300_000, 200_000, 0]
    download(own)
    assert whole(own, repository)
    size = len(repository[UNET])
    assert 500_000 < size and hub.asked_for(UNET)[0] == ""
    offsets = [int(r.removeprefix("bytes=").removesuffix("-")) for r in hub.asked_for(UNET) if r]
    assert offsets == sorted(offsets) and 300_000 in offsets and 500_000 in offsets


def test_a_download_that_failed_is_taken_up_by_the_next_one(hub, own, repository):
    hub.cut[UNET] = [300_000]
    message = refusal(download, own, waits=())
    assert "connection" in message and "to resume the download" in message
    part = own.original / (UNET + ".part")
    assert part.stat().st_size == 300_000 and not (own.original / UNET).exists()
    assert status(own).original_bytes > 300_000 and not status(own).complete
    before = len(hub.requests)
    download(own)
    ranges = [ranges for method, path, ranges in hub.requests[before:] if path == UNET]
    assert ranges[0] == "bytes=300000-" and whole(own, repository) and not part.exists()


def test_a_server_that_ignores_ranges_starts_the_file_anew(hub, own, repository):
    hub.cut[UNET], hub.ignores_range = [300_000], True
    download(own)
    assert whole(own, repository)


def test_a_mirror_that_lists_names_alone(hub, own, repository):
    hub.sizes = False
    hub.cut[UNET] = [300_000]
    download(own)
    assert whole(own, repository) and "bytes=300000-" in hub.asked_for(UNET)


def test_a_file_in_the_way(own, hub):
    write(own.original, {"gslrm": b""})
    assert "Cannot" in refusal(download, own)


def test_a_part_that_is_longer_than_the_file_is_dropped(hub, own, repository):
    write(own.original, {UNET + ".part": b"x" * (len(repository[UNET]) + 1)})
    download(own)
    assert whole(own, repository)


def test_speed_and_time_left_are_told(hub, own, monkeypatch):
    monkeypatch.setattr("facelift_core.weights.byte_progress.REPORT_SECONDS", 0.0)
    hub.bytes_per_second = 500_000
    messages = []

    def stop_when_told() -> bool:
        return any("/s, " in message and message.endswith(" left") for message in messages)

    with pytest.raises(Cancelled):
        download(own, stop_when_told, lambda stage, fraction, message: messages.append(message))


@pytest.mark.parametrize("path", [GSLRM, UNET])
def test_a_file_with_another_checksum_is_refused(hub, own, repository, path):
    wrong = bytearray(repository[path])
    wrong[-1] ^= 1
    hub.served[path] = bytes(wrong)
    message = refusal(download, own)
    assert path in message and "checksum" in message and "deleted" in message
    assert not (own.original / path).exists() and not (own.original / (path + ".part")).exists()
    hub.served.clear()
    download(own)
    assert whole(own, repository)


def test_a_hub_that_announces_another_file_is_not_even_asked_for_it(hub, own, repository):
    hub.files[UNET] = repository[UNET][:-1] + b"x"
    assert "nothing was downloaded" in refusal(download, own)
    assert {path for _, path, _ in hub.requests} == {"api"}


def test_web_pages_in_place_of_small_files_are_refused(hub, own, repository):
    path = f"{PIPELINE}/unet/config.json"
    page = b"<html>Sign in to this network</html>"
    hub.served[path] = page + b" " * (len(repository[path]) - len(page))
    assert "unet/config.json is not valid JSON" in refusal(download, own)


def test_a_hub_that_wants_a_token(hub, own, repository, monkeypatch):
    hub.token = "hf_secret"
    assert "(401)" in refusal(download, own) and "HF_TOKEN" in refusal(download, own)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "(401)" in refusal(download, own)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.tokens.clear()
    download(own)
    assert whole(own, repository)
    assert ("hub", "Bearer hf_secret") in hub.tokens and ("large", "") in hub.tokens
    assert ("large", "Bearer hf_secret") not in hub.tokens, "the token stays with the hub"


@pytest.mark.parametrize("path", ["api", "LICENSE", UNET])
@pytest.mark.parametrize("code, words", [(401, "HF_TOKEN"), (403, "denies"), (404, "HF_ENDPOINT")])
def test_refusals_of_the_hub(hub, own, path, code, words):
    hub.status[path] = [code]
    message = refusal(download, own)
    assert f"({code})" in message and words in message and hub.address in message
    assert not hub.status[path], "asked once: asking again would not help"


def test_another_repository_and_a_file_that_is_gone(hub, own, tmp_path):
    elsewhere = Store(dataclasses.replace(own.catalogue, repository="nobody/nothing"), tmp_path / "w")
    accept(elsewhere)
    assert "nobody/nothing" in refusal(download, elsewhere)
    del hub.files[GSLRM]
    assert f"has no {GSLRM}" in refusal(download, own)


@pytest.mark.parametrize("path", ["api", UNET])
@pytest.mark.parametrize("code", [500, 502, 503, 504, 429])
def test_a_hub_in_trouble_is_asked_again(hub, own, repository, path, code):
    hub.status[path] = [code]
    download(own)
    assert whole(own, repository)
    hub.status["api"] = [code] * 10
    assert f"error {code} for" in refusal(download, own) and len(hub.status["api"]) == 10 - 1 - len(QUICK)


@pytest.mark.parametrize("address", ["hf-mirror.example", "ftp://x", "http://"])
def test_a_mirror_that_is_no_address(own, monkeypatch, address):
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert "HF_ENDPOINT" in refusal(download, own)


def test_nobody_at_the_address(own, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    message = refusal(download, own)
    assert "127.0.0.1:9" in message and "check your network" in message


def test_offline(hub, own, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refusal(download, own)
    assert hub.requests == []


def test_too_little_disk_is_told_before(hub, own, monkeypatch):
    free = shutil.disk_usage(own.root.parent)._replace(free=100_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    message = refusal(download, own)
    assert "100 MB are free" in message and "The download needs" in message
    assert hub.asked_for(UNET) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_up_meanwhile(own, repository):
    part = own.original / (UNET + ".part")
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    message = refusal(download, own)
    assert message.startswith("The disk is full") and "to resume the download" in message
    part.unlink()
    download(own)
    assert whole(own, repository)


def test_cancel_where_the_server_is_silent(hub, own, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DOWNLOAD_TIMEOUT", 300)
    hub.stall[UNET] = [100_000]
    part = own.original / (UNET + ".part")
    with pytest.raises(Cancelled):
        download(own, cancelled=lambda: part.exists() and part.stat().st_size == 100_000)
    assert hub.stalling == 1, "it did not wait for the server"


def test_cancel_while_waiting_to_try_again(hub, own):
    hub.status["api"] = [500, 500]
    with pytest.raises(Cancelled):
        download(own, cancelled=lambda: len(hub.status["api"]) == 1, waits=(300.0,))


# --- A hub that is not to be trusted ---


def test_a_body_without_end_is_not_written(hub, own):
    for path in ("LICENSE", UNET):
        hub.endless = {path: bytes(1 << 16)}
        assert f"sends more of {path}" in refusal(download, own)
        assert not (own.original / path).exists()
        assert store.size_of(own.original / (path + ".part")) <= 0
    hub.endless = {"api": b" " * (1 << 16)}
    assert "does not end its list" in refusal(download, own)


def test_a_licence_without_end_before_consent(hub, empty):
    hub.endless = {"LICENSE": b"x" * (1 << 16)}
    assert "sends more of LICENSE" in refusal(run, empty, Request("licence"))
    assert sum(path.stat().st_size for path in empty.folder.rglob("*") if path.is_file()) == 0


@pytest.mark.parametrize(
    "listing",
    [
        b"<!DOCTYPE html><html>Sign in</html>", b"", b"[]", b"null", b"7", b'{"siblings": 3}', b'{"siblings": [3]}',
        b'{"siblings": [{"rfilename": []}]}', b'{"siblings": null}', b"[" * 100_000, b"\xff\xfe",
        b'{"siblings": [{"rfilename": null}]}', b'{"a": NaN}', b"{" * 5000,
    ],
)  # fmt: skip
def test_listings_that_are_none(hub, own, listing):
    hub.listing = listing
    message = refusal(download, own)
    assert "did not answer with a list of files" in message or "has no LICENSE" in message


@pytest.mark.parametrize("size", [-1, 10**18, 2.5, "9", True, None, [1]])
def test_sizes_that_are_none(hub, own, size):
    listing = {"siblings": [{"rfilename": path, "size": len(content)} for path, content in hub.files.items()]}
    listing["siblings"][0]["size"] = size
    hub.listing = json.dumps(listing).encode()
    if size is None:
        download(own)
    else:
        assert "announces" in refusal(download, own)


def test_files_larger_than_published_are_not_begun(hub, own):
    listing = {"siblings": [{"rfilename": path, "size": 10**9} for path in hub.files if path.endswith(".safetensors")]}
    listing["siblings"] += [{"rfilename": p, "size": 9} for p in hub.files if not p.endswith(".safetensors")]
    hub.listing = json.dumps(listing).encode()
    assert "nothing was downloaded" in refusal(download, own) and hub.asked_for(UNET) == []


@pytest.mark.parametrize("wrong", ["bytes 0-9/10", "bytes 5-9/10", "", "nonsense"])
def test_another_range_is_not_appended(hub, own, repository, wrong):
    hub.cut[UNET] = [300_000]
    refusal(download, own, waits=())
    hub.headers[UNET] = {"Content-Range": wrong}
    assert "another part of the file" in refusal(download, own)
    hub.headers.clear()
    download(own)
    assert whole(own, repository)


def test_what_a_server_asks_to_wait_is_bounded(hub, own, monkeypatch):
    from facelift_core.weights import hub_connection as client

    waited = []
    monkeypatch.setattr(client, "_wait", lambda seconds, monitor: waited.append(seconds))
    for wish in ("1e9", "nan", "-5", "inf", "Wed, 21 Oct 2065 07:28:00 GMT"):
        hub.status["api"] = [503]
        hub.headers["refusal"] = {"Retry-After": wish}
        download(own)
    assert len(waited) == 5 and all(0 <= seconds <= 60 for seconds in waited)


def test_a_server_that_drips_is_given_up(hub, own):
    hub.cut[UNET] = [1] * 50
    assert "connection" in refusal(download, own)
    assert len(hub.asked_for(UNET)) == 2 * (1 + len(QUICK)), "each attempt asks the hub and then its storage"


def test_small_files_have_the_checksum_that_the_hub_announced(hub, own, repository):
    path = f"{PIPELINE}/unet/config.json"
    hub.served[path] = repository[path].replace(b"2", b"3")
    assert f"{path} is not what the hub announced" in refusal(download, own)
    assert not (own.original / path).exists()


# --- Checked when used ---


def tamper(path: Path) -> None:
    """Change a file, but neither its size nor its time."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-1 if path.suffix != ".json" else content.index(b":") - 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("path", [UNET, GSLRM, f"{PIPELINE}/unet/config.json", f"{PIPELINE}/tokenizer/merges.txt"])
def test_originals_that_were_changed_are_found(hub, own, repository, path):
    download(own)
    tamper(own.original / path)
    assert path in refusal(conversion.convert, own, Monitor("convert"), embed_prompts)
    assert path in verify(own, Monitor("verify"))[0]
    assert not own.converted.exists()
    download(own)
    assert whole(own, repository), "and a download replaces them"
    conversion.convert(own, Monitor("convert"), embed_prompts)
    manifest = store.read_manifest(own.converted)
    assert manifest["originals"] == {p: hashlib.sha256(c).hexdigest() for p, c in repository.items()}


def test_an_original_that_changes_while_it_is_converted(downloaded):
    def change(stage, fraction, message):
        if message.startswith("Converting"):
            tamper(downloaded.original / GSLRM)

    message = refusal(conversion.convert, downloaded, Monitor("convert", change), embed_prompts)
    assert GSLRM in message and not downloaded.converted.exists()


def test_a_licence_whose_text_changes_is_not_accepted(hub, downloaded):
    conversion.convert(downloaded, Monitor("convert"), embed_prompts)
    assert status(downloaded).accepted
    downloaded.licence_file.write_text("All your base are belong to us.\n" * 3)
    assert status(downloaded).accepted is None and "not accepted" in refusal(ready_folder, downloaded)


def test_another_licence_among_the_originals(downloaded):
    (downloaded.original / "LICENSE").write_text("Another licence, which nobody has read.")
    assert "another license" in refusal(conversion.convert, downloaded, Monitor("convert"), embed_prompts)


def test_converted_settings_that_were_changed_are_not_used(downloaded):
    conversion.convert(downloaded, Monitor("convert"), embed_prompts)
    tamper(downloaded.converted / PIPELINE / "unet/config.json")
    assert "convert the weights again" in refusal(ready_folder, downloaded)
    run(downloaded, Request("convert"))
    assert ready_folder(downloaded) == downloaded.converted


def test_converted_weights_that_were_changed_are_not_used(downloaded, monkeypatch):
    """Weights are read for their checksum once, and again whenever they were modified."""
    conversion.convert(downloaded, Monitor("convert"), embed_prompts)
    read, weights = [], downloaded.converted / UNET
    whole = verification.sha256_of
    monkeypatch.setattr(verification, "sha256_of", lambda path, transfer: read.append(path) or whole(path, transfer))
    assert ready_folder(downloaded) == downloaded.converted and weights not in read
    os.utime(weights, (1e9, 1e9))  # a copy, for example
    for _ in range(2):
        assert ready_folder(downloaded) == downloaded.converted
    assert read.count(weights) == 1
    tamper(weights)
    for _ in range(2):
        assert "convert the weights again" in refusal(ready_folder, downloaded)
    run(downloaded, Request("convert"))
    assert ready_folder(downloaded) == downloaded.converted


# --- The licence ---


def test_nothing_happens_before_the_licence_is_accepted(hub, empty, repository, tmp_path):
    source = write(tmp_path / "copy", repository)
    for call in (
        lambda: download(empty),
        lambda: conversion.convert(empty, Monitor("convert"), embed_prompts, source),
        lambda: run(empty, Request("download")),
        lambda: run(empty, Request("import", source=str(source))),
    ):
        assert "not accepted" in refusal(call)
    assert hub.requests == [] and "has not been downloaded" in refusal(licence.accept, empty)


def test_the_licence_is_fetched_read_accepted_and_taken_back(hub, empty, downloaded_files):
    run(empty, Request("licence"))
    assert licence.text(empty) == LICENCE
    assert hub.asked_for("LICENSE") and hub.asked_for(UNET) == []
    assert status(empty).accepted is None
    licence.accept(empty)
    record = json.loads(empty.acceptance_file.read_text())
    assert record["revision"] == hub.revision and record["accepted"] == status(empty).accepted
    downloaded_files(empty)
    conversion.convert(empty, Monitor("convert"), embed_prompts)
    assert ready_folder(empty) == empty.converted
    licence.revoke(empty)
    licence.revoke(empty)
    message = refusal(ready_folder, empty)
    assert "not accepted" in message and "facelift weights licence --accept" in message
    licence.accept(empty)
    assert ready_folder(empty) == empty.converted


@pytest.fixture
def downloaded_files(repository):
    return lambda own: write(own.original, repository)


def test_taking_it_back_stops_a_download(hub, own):
    def revoke_at_the_unet(stage, fraction, message):
        if hub.asked_for(UNET):
            licence.revoke(own)

    assert "not accepted" in refusal(download, own, progress=revoke_at_the_unet)
    assert names(own.original) < set(own.catalogue.files)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"revision": "old", "accepted": "2020-01-01"}', "null"])
def test_acceptances_that_are_none(own, content):
    own.acceptance_file.write_text(content)
    assert licence.accepted(own) is None


# --- Import ---


def import_from(own: Store, source: Path) -> str:
    return run(own, Request("import", source=str(source)))


@pytest.mark.parametrize("top", ["", "OpenFaceLift-main"])
def test_a_folder_downloaded_by_hand(own, repository, tmp_path, top):
    source = write(tmp_path / "copy" / top, {**repository, "README.md": b"more"})
    before = names(tmp_path / "copy")
    import_from(own, tmp_path / "copy")
    assert status(own).converted and not own.original.exists()
    assert names(tmp_path / "copy") == before and (source / UNET).read_bytes() == repository[UNET]


@pytest.mark.parametrize("top", ["", "OpenFaceLift-main/", "a/b/"])
def test_a_zip_downloaded_by_hand(own, repository, tmp_path, top):
    source = zipped(tmp_path / "w.zip", {f"{top}{path}": content for path, content in repository.items()})
    import_from(own, source)
    assert status(own).converted and not own.original.exists()


def test_an_import_that_lacks_files_names_them(own, repository, tmp_path):
    some = {path: content for path, content in repository.items() if path not in (UNET, GSLRM)}
    for source in (write(tmp_path / "copy", some), zipped(tmp_path / "w.zip", some)):
        message = refusal(import_from, own, source)
        assert UNET in message and GSLRM in message and "huggingface.co" in message
    few = {"LICENSE": repository["LICENSE"]}
    assert " more of " in refusal(import_from, own, write(tmp_path / "few", few))
    for source in (write(tmp_path / "photos", {"a.jpg": b"1"}), zipped(tmp_path / "p.zip", {"a.jpg": b"1"})):
        assert "does not contain the weights" in refusal(import_from, own, source)
    assert "does not exist" in refusal(import_from, own, tmp_path / "none.zip")


def test_names_in_a_zip_that_lead_outside_write_nothing_there(own, repository, tmp_path):
    evil = {"../../evil.json": b"{}", "/evil.json": b"{}", f"../{UNET}": b"bad", "..\\evil.json": b"{}"}
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    source = zipped(folder / "w.zip", {**{f"top/{p}": c for p, c in repository.items()}, **evil})
    import_from(own, source)
    assert status(own).converted
    assert {name for name in names(tmp_path) if not name.startswith("weights/")} == {"deep/er/w.zip"}
    assert names(own.converted) == {*converted_files(own.catalogue), "manifest.json"}


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_an_import_with_another_checksum(own, repository, tmp_path, kind):
    wrong = {**repository, GSLRM: repository[GSLRM][:-1] + b"x"}
    source = write(tmp_path / "c", wrong) if kind == "folder" else zipped(tmp_path / "w.zip", wrong)
    message = refusal(import_from, own, source)
    assert GSLRM in message and "does not have the published checksum" in message
    assert not status(own).converted and not (own.original / GSLRM).exists()


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_small_files_that_are_no_json(own, repository, tmp_path, kind):
    wrong = {**repository, f"{PIPELINE}/vae/config.json": b"<!doctype html>"}
    source = write(tmp_path / "c", wrong) if kind == "folder" else zipped(tmp_path / "w.zip", wrong)
    assert "vae/config.json" in refusal(import_from, own, source)


@pytest.mark.parametrize("damage", ["cut", "bytes", "encrypted", "no zip", "bomb"])
def test_zips_that_cannot_be_read(own, repository, tmp_path, damage):
    files = dict(repository)
    if damage == "bomb":
        files[f"{PIPELINE}/vae/config.json"] = bytes(20 << 20)
    source = zipped(tmp_path / "w.zip", files)
    content = bytearray(source.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "bytes":
        content[len(content) // 3] ^= 255
    elif damage == "no zip":
        content = bytearray(b"<html>not found</html>")
    elif damage == "encrypted":
        for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            start = -1
            while (start := content.find(signature, start + 1)) >= 0:
                content[start + offset] |= 1
    source.write_bytes(content)
    words = {"encrypted": "unpack it and import the folder", "bomb": "too large"}.get(damage, "download it again")
    assert words in refusal(import_from, own, source)
    assert not status(own).converted and not list(own.folder.rglob("*.part"))


def test_a_converted_folder_needs_no_import(downloaded):
    conversion.convert(downloaded, Monitor("convert"), embed_prompts)
    assert "--weights" in refusal(importing.find_folder, downloaded.catalogue, downloaded.converted)


def test_the_licence_comes_with_the_import(empty, hub, repository, tmp_path):
    for source in (write(tmp_path / "c", repository), zipped(tmp_path / "w.zip", repository)):
        empty.licence_file.unlink(missing_ok=True)
        run(empty, Request("licence", source=str(source)))
        assert licence.text(empty) == LICENCE
    assert hub.requests == []


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


# --- Conversion ---


@pytest.fixture(scope="module")
def converted(repository, tmp_path_factory) -> Store:
    """Converted weights, to read only."""
    with LocalHub(dict(repository)) as hub:
        own = Store(hub.catalogue(), tmp_path_factory.mktemp("converted"))
    accept(own)
    write(own.original, repository)
    conversion.convert(own, Monitor("convert"), embed_prompts)
    return own


def test_what_a_conversion_makes(converted, repository):
    checkpoint = find_checkpoint(converted.converted)
    assert names(converted.converted) == {*converted_files(converted.catalogue), "manifest.json"}
    assert checkpoint.gslrm.name == "ckpt_0000000000021125.safetensors" and checkpoint.head_dim == 16
    gslrm, original = load_file(checkpoint.gslrm), load_state_dict(converted.original / GSLRM)
    assert gslrm.keys() == {name for name in original if not name.startswith("loss_calculator.")}
    for name, tensor in gslrm.items():
        half = name.startswith("transformer_layers.")
        assert tensor.dtype == (torch.float16 if half else torch.float32)
        assert torch.equal(tensor, original[name].half() if half else original[name])
    unet, before = load_file(converted.converted / UNET), load_file(converted.original / UNET)
    assert all(torch.equal(unet[name], before[name].half()) for name in before) and unet.keys() == before.keys()
    with safe_open(converted.converted / UNET, "pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert not (converted.converted / PIPELINE / "text_encoder").exists()


def test_converted_weights_compute_the_same_within_half_precision(converted):
    """The views, and the Gaussians of the same views; in float32, where the originals are not rounded at all."""
    portrait = Image.open(GOLDENS / "input.png").convert("RGB")
    models = [fl.FaceLift.from_pretrained(folder, "cpu") for folder in (converted.original, converted.converted)]
    one, two = (model.multiview(portrait, steps=4) for model in models)
    assert not torch.equal(one, two)
    assert (one - two).abs().max() < 0.01 and (one - two).abs().mean() < 5e-4
    a, b = (model.reconstruct_from_views(one).raw_gaussians for model in models)
    assert (a.positions - b.positions).abs().max() < 2e-3
    for name in ("log_scales", "opacity_logits"):
        assert (getattr(a, name) - getattr(b, name)).abs().max() < 0.01


def test_converted_weights_are_identical_where_the_device_computes_in_half_precision(converted):
    """What a graphics card holds after loading: the same bits from either folder."""
    from facelift_core.gslrm.network import GSLRM as Model

    loaded = [
        Model.from_checkpoint(find_checkpoint(folder).gslrm, 16, 0, "cpu", torch.float16).state_dict()
        for folder in (converted.original, converted.converted)
    ]
    assert all(torch.equal(loaded[0][name], loaded[1][name]) for name in loaded[0])
    pipes = [
        fl.multiview.MultiViewDiffusion.from_pretrained(folder, "cpu", torch.float16)
        for folder in (converted.original, converted.converted)
    ]
    for part in ("unet", "vae", "image_encoder"):
        one, two = (getattr(pipe, part).state_dict() for pipe in pipes)
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(pipes[0].prompt_embeds, pipes[1].prompt_embeds)
    assert torch.equal(pipes[0].embedding_mean, pipes[1].embedding_mean)


def test_a_second_conversion_has_nothing_to_do(downloaded):
    folder = conversion.convert(downloaded, Monitor("convert"), embed_prompts)
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert conversion.convert(downloaded, Monitor("convert"), embed_prompts) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == stamps


def test_a_damaged_conversion_is_made_again(downloaded):
    conversion.convert(downloaded, Monitor("convert"), embed_prompts)
    (downloaded.converted / UNET).unlink()
    assert not status(downloaded).converted and "not converted" in refusal(ready_folder, downloaded)
    conversion.convert(downloaded, Monitor("convert"), embed_prompts)
    assert ready_folder(downloaded) == downloaded.converted and not downloaded.set_aside.exists()


def test_a_cancelled_conversion_goes_on_after_the_last_whole_file(downloaded):
    def at_the_unet() -> bool:
        return (downloaded.converting / (UNET + ".part")).exists()

    with pytest.raises(Cancelled):
        conversion.convert(downloaded, Monitor("convert", cancelled=at_the_unet), embed_prompts)
    assert not status(downloaded).converted and not list(downloaded.folder.rglob("*.part"))
    gslrm = downloaded.converting / "gslrm/ckpt_0000000000021125.safetensors"
    stamp = gslrm.stat().st_mtime_ns
    conversion.convert(downloaded, Monitor("convert"), embed_prompts)
    assert (downloaded.converted / gslrm.relative_to(downloaded.converting)).stat().st_mtime_ns == stamp
    assert verify(downloaded, Monitor("verify")) == []


def test_originals_that_changed_meanwhile_are_converted_anew(downloaded, repository):
    at_the_unet = (downloaded.converting / (UNET + ".part")).exists
    with pytest.raises(Cancelled):
        conversion.convert(downloaded, Monitor("convert", cancelled=at_the_unet), embed_prompts)
    gslrm = downloaded.converting / "gslrm/ckpt_0000000000021125.safetensors"
    config = downloaded.original / PIPELINE / "vae/config.json"
    config.write_bytes(config.read_bytes() + b"\n")
    downloaded.checksums_file.unlink()
    stamp = gslrm.stat().st_mtime_ns
    folder = conversion.convert(downloaded, Monitor("convert"), embed_prompts)
    assert (folder / "gslrm" / gslrm.name).stat().st_mtime_ns != stamp


KILLED_EVERYWHERE = """
import os, sys
from pathlib import Path
from facelift_core.progress import Monitor
from facelift_core.multiview.prompts import embed_prompts
from facelift_core.weights import convert
from facelift_core.weights.catalogue import load_catalogue
from facelift_core.weights.inventory import status
from facelift_core.weights.store import Store, read_manifest, missing_of
from facelift_core.weights.verify import verify


def dying(function, left):
    def wrapped(*arguments, **named):
        left[0] -= 1
        if left[0] == 0:
            os._exit(9)
        return function(*arguments, **named)
    return wrapped


def kill_until_done(own, damaged):
    kills = 0
    while True:
        child = os.fork()
        if child == 0:
            left = [1 + 3 * (kills % 4) + kills % 2]
            for name in ("replace", "rename", "fsync"):
                setattr(os, name, dying(getattr(os, name), left))
            convert.convert(own, Monitor("convert"), embed_prompts)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if own.converted.exists():
            manifest = read_manifest(own.converted)
            assert damaged or (manifest and not missing_of(own.converted, manifest)), "half a conversion has the name"
        if code == 0:
            break
        assert code == 9, code
        kills += 1
    assert status(own).converted and verify(own, Monitor("verify")) == []
    assert not own.converting.exists() and not own.set_aside.exists()
    return kills


for root in map(Path, sys.argv[1:]):
    own = Store(load_catalogue(), root)
    print(kill_until_done(own, own.converted.exists()))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks")
def test_kill_9_at_many_moments_leaves_all_or_nothing(hub, repository, tmp_path):
    """Each process dies at one of the system calls that make a change last; the next one goes on."""
    roots = [tmp_path / "nothing there", tmp_path / "a damaged one there"]
    for root in roots:
        own = Store(hub.catalogue(), root)
        accept(own)
        write(own.original, repository)
    write(own.converted, {UNET: b"an old one, damaged", "manifest.json": b"{}"})
    environment = {
        **os.environ,
        VARIABLE: str(hub.write_catalogue(tmp_path / "c.json")),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(fl.__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-c", KILLED_EVERYWHERE, *map(str, roots)],
        env=environment, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert all(int(kills) >= 5 for kills in done.stdout.split())


def published_as_it_is(own: Store) -> Store:
    """A store whose catalogue has the checksums of the files that are there."""
    files = {path: hashlib.sha256((own.original / path).read_bytes()).hexdigest() for path in own.catalogue.files}
    return Store(dataclasses.replace(own.catalogue, files=files), own.root)


def test_numbers_that_do_not_fit_half_precision(downloaded):
    path = downloaded.original / UNET
    weights = {name: tensor.clone() for name, tensor in load_file(path).items()}
    name = next(iter(weights))
    weights[name].view(-1)[0] = 1e6
    save_file(weights, path)
    downloaded = published_as_it_is(downloaded)
    message = refusal(conversion.convert, downloaded, Monitor("convert"), embed_prompts)
    assert name in message and "half precision" in message


def test_a_disk_that_fills_up_in_the_conversion(downloaded, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert "No space left" in refusal(conversion.convert, downloaded, Monitor("convert"), embed_prompts)
    assert not status(downloaded).converted and not list(downloaded.folder.rglob("*.part"))
    free = shutil.disk_usage(downloaded.root)._replace(free=1_000_000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: free)
        assert "The conversion needs" in refusal(conversion.convert, downloaded, Monitor("convert"), embed_prompts)
    conversion.convert(downloaded, Monitor("convert"), embed_prompts)
    assert verify(downloaded, Monitor("verify")) == []


@pytest.mark.parametrize("part", [UNET, GSLRM, f"{PIPELINE}/text_encoder/model.safetensors"])
def test_damaged_originals_are_not_converted(downloaded, part):
    (downloaded.original / part).write_bytes(b"<html>")
    assert Path(part).name in refusal(conversion.convert, downloaded, Monitor("convert"), embed_prompts)
    (downloaded.original / part).unlink()
    assert part in refusal(conversion.convert, downloaded, Monitor("convert"), embed_prompts)


# --- What is there ---


def test_which_command_helps(own, downloaded_files):
    assert "facelift weights download" in refusal(ready_folder, own)
    downloaded_files(own)
    assert "facelift weights convert" in refusal(ready_folder, own)


def test_verification_names_what_is_wrong(downloaded):
    assert verify(downloaded, Monitor("verify")) == []
    conversion.convert(downloaded, Monitor("convert"), embed_prompts)
    assert verify(downloaded, Monitor("verify")) == []
    for path in (downloaded.original / GSLRM, downloaded.converted / UNET):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    (downloaded.converted / "LICENSE").unlink()
    (downloaded.original / "LICENSE").unlink()
    problems = verify(downloaded, Monitor("verify"))
    assert len(problems) == 4 and all(problem.endswith(".") for problem in problems)
    assert GSLRM in problems[0] and "LICENSE" in problems[1]
    assert sum("convert the weights again" in problem for problem in problems[2:]) == 2
    assert "convert the weights again" in refusal(run, downloaded, Request("verify"))
    shutil.rmtree(downloaded.folder)
    assert "no weights to verify" in refusal(run, downloaded, Request("verify"))


def test_removing_takes_only_what_is_ours(downloaded):
    conversion.convert(downloaded, Monitor("convert"), embed_prompts)
    fl.multiview.MultiViewDiffusion.from_pretrained(downloaded.original, "cpu")  # which caches the prompts there
    write(downloaded.original, {"gslrm/mine.pt": b"mine", f"{UNET}.part": b"half"})
    freed, left = remove(downloaded, converted=False)
    assert freed > 3_000_000 and left == [downloaded.original] and names(downloaded.original) == {"gslrm/mine.pt"}
    assert ready_folder(downloaded) == downloaded.converted
    write(downloaded.root / "mini-of-mine", {"unet.safetensors": b"mine"})
    remove(downloaded)
    assert names(downloaded.root) == {
        "mini-of-mine/unet.safetensors",
        f"{downloaded.original.relative_to(downloaded.root).as_posix()}/gslrm/mine.pt",
    }
    assert licence.accepted(downloaded) is None


def test_removing_does_not_follow_links(own, repository, tmp_path):
    elsewhere = write(tmp_path / "elsewhere", repository)
    own.original.symlink_to(elsewhere)
    assert status(own).complete
    run(own, Request("remove"))
    assert names(elsewhere) == set(repository) and not own.folder.exists()


def test_two_at_once(own):
    with store.alone(own):
        assert "Another FaceLift" in refusal(run, own, Request("remove"))


def test_a_folder_that_cannot_be_written(own, tmp_path):
    (tmp_path / "file").write_text("")
    assert "Cannot create the folder" in refusal(run, Store(own.catalogue, tmp_path / "file"), Request("licence"))


# --- The command line and the worker ---


@pytest.fixture
def cli(hub, tmp_path, monkeypatch, capsys):
    """``facelift …`` with this hub and an empty user folder: gives exit code, output and errors."""
    monkeypatch.setenv(VARIABLE, str(hub.write_catalogue(tmp_path / "c.json")))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv(store.VARIABLE, raising=False)

    def facelift(*arguments) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return facelift


def test_command_line_from_nothing_to_a_head(cli, hub, tmp_path):
    photo, head = GOLDENS / "input.png", tmp_path / "head.ply"
    quick = ("--steps", 1, "--no-crop", "--matting", "none", "--device", "cpu", "--likeness", "off")
    code, _, err = cli("reconstruct", photo, "-o", head, "--weights", "released", *quick)
    assert code == 1 and "facelift weights download" in err and not head.exists()
    code, out, _ = cli("weights", "list")
    assert code == 0 and "released: not downloaded" in out and "not accepted" in out
    code, _, err = cli("weights", "download")
    assert code == 1 and "--accept-licence" in err
    code, out, _ = cli("weights", "licence")
    assert code == 0 and LICENCE in out
    code, out, err = cli("weights", "download", "--accept-licence", "--remove-original")
    assert code == 0 and "are ready" in out and "freed" in out and "to download from" in err
    code, out, _ = cli("weights", "list")
    assert "released: ready" in out and "originals" not in out
    code, out, err = cli("reconstruct", photo, "-o", head, "--weights", "released", *quick)
    assert code == 0 and len(fl.load(head)) > 100, err
    assert cli("weights", "verify")[0] == 0
    before = len(hub.requests)
    assert cli("weights", "download")[0] == 0 and len(hub.requests) == before, "what is ready is not fetched again"
    assert cli("weights", "licence", "--revoke")[0] == 0
    code, _, err = cli("reconstruct", photo, "-o", head, "--weights", "released", *quick)
    assert code == 1 and "not accepted" in err
    code, out, _ = cli("weights", "remove")
    assert code == 0 and "freed" in out and not (tmp_path / "data" / "facelift" / "weights").exists()


@pytest.mark.parametrize("answer, code", [("yes\n", 0), ("no\n", 1), ("", 1)])
def test_the_question_on_a_terminal(cli, monkeypatch, answer, code):
    class Terminal:
        def isatty(self):
            return True

        def readline(self):
            return answer

    monkeypatch.setattr(sys, "stdin", Terminal())
    found, out, err = cli("weights", "download")
    assert found == code and LICENCE in err and "Do you accept" in err
    assert ("are ready" in out) == (code == 0)


def test_import_on_the_command_line(cli, repository, tmp_path, hub):
    source = zipped(tmp_path / "w.zip", repository)
    code, out, err = cli("weights", "import", source, "--accept-licence", "--folder", tmp_path / "elsewhere")
    assert code == 0 and str(tmp_path / "elsewhere") in out and "For tests only." in err
    assert hub.requests == []
    code, _, err = cli("weights", "import", tmp_path / "none")
    assert code == 1 and "does not exist" in err


def test_the_worker_speaks_of_weights(hub, tmp_path):
    """One process, JSON lines; test_blender_weights.py has a whole download with it, and cancels one."""
    own = Store(hub.catalogue(), tmp_path / "weights")
    environment = {
        **os.environ,
        VARIABLE: str(hub.write_catalogue(tmp_path / "c.json")),
        "PYTHONPATH": str(Path(fl.__file__).parents[1]),
    }
    requests = [{"do": "nonsense"}, {"do": "download"}, {"do": "licence"}, {"do": "licence", "source": 3}]
    lines = [
        json.dumps({"do": "weights", "job": str(n), "request": {"folder": str(own.root), **request}})
        for n, request in enumerate(requests)
    ]
    worker = subprocess.Popen(
        [sys.executable, "-m", "facelift_core.jobs.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True,
    )  # fmt: skip
    worker.stdin.write("\n".join(lines) + "\n")
    worker.stdin.flush()
    last = {}
    while len(last) < len(requests):
        event = json.loads(worker.stdout.readline())
        if event["event"] in ("done", "failed"):
            last[event["job"]] = event
    worker.stdin.close()
    worker.wait(60)
    assert [last[str(n)]["event"] for n in range(4)] == ["failed", "failed", "done", "failed"]
    assert "does not understand" in last["0"]["message"] and "not accepted" in last["1"]["message"]
    assert licence.text(own) == LICENCE


def test_nothing_heavy_is_imported_for_what_blender_shows(hub, tmp_path):
    program = (
        "import sys; from facelift_core.weights import inventory, licence, store;"
        "inventory.status(store.open_store()); print(sorted({'torch', 'huggingface_hub', 'numpy'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(fl.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
