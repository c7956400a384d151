"""Weights that are damaged, half downloaded, hostile or misplaced: one sentence each, and nothing is executed."""

import json
import os
import pickle
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import facelift_core as fl
from facelift_core.compute.device import select_device, select_dtype
from facelift_core.weights.layout import find_checkpoint, find_pipeline
from facelift_core.weights.state_dict import load_into, load_json, load_state_dict, save_safetensors

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}


def refuses(call, *arguments, match: str) -> str:
    with pytest.raises(fl.FaceLiftError, match=match) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


@pytest.fixture
def safetensors_file(tmp_path) -> Path:
    save_file(TENSORS, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


@pytest.fixture
def torch_file(tmp_path) -> Path:
    torch.save({"model": TENSORS, "optimizer": {"step": 3}}, tmp_path / "w.pt")
    return tmp_path / "w.pt"


class RunsCode:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


# --- Good files ---


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.bin", "w"])
def test_files_are_told_by_their_content(tmp_path, safetensors_file, torch_file, name):
    for source in (safetensors_file, torch_file):
        renamed = tmp_path / "renamed" / name
        renamed.parent.mkdir(exist_ok=True)
        shutil.copy(source, renamed)
        found = load_state_dict(renamed)
        assert found.keys() == TENSORS.keys() and all(torch.equal(found[k], TENSORS[k]) for k in TENSORS)


@pytest.mark.parametrize("length", [0x80, 0x0380, 0x4B50])
def test_safetensors_whose_header_length_begins_like_another_format(tmp_path, length):
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode().ljust(length)
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", length) + header + struct.pack("<f", 1.5))
    assert load_state_dict(tmp_path / "w.safetensors")["w"].item() == 1.5


@pytest.mark.parametrize("zipped", [True, False])
def test_plain_and_old_torch_files(tmp_path, zipped):
    torch.save(TENSORS, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    assert torch.equal(load_state_dict(tmp_path / "w.pt")["weight"], TENSORS["weight"])


def test_weights_are_taken_over_without_a_copy(safetensors_file):
    weights = load_state_dict(safetensors_file)
    with torch.device("meta"):
        module = torch.nn.Linear(3, 2)
    load_into(module, weights, safetensors_file)
    assert module.weight.data_ptr() == weights["weight"].data_ptr()
    assert torch.equal(module.bias, TENSORS["bias"])


def test_large_files_are_mapped_not_read(tmp_path):
    """Loading a file takes no memory of its own; the pages come when they are used."""
    for path in (tmp_path / "w.safetensors", tmp_path / "w.pt"):
        tensors = {"model": {"w": torch.ones(64 << 20, dtype=torch.uint8)}}
        torch.save(tensors, path) if path.suffix == ".pt" else save_file(tensors["model"], path)
        before = resident_bytes()
        loaded = load_state_dict(path)
        assert resident_bytes() - before < 16 << 20
        assert loaded["w"][-1] == 1


def resident_bytes() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("memory of a process can only be read on Linux here")
    anonymous = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(anonymous.split()[1]) * 1024


# --- Damaged files ---


@pytest.mark.parametrize("kept", [1, 7, 8, 30, 100, -1])
def test_half_downloaded_safetensors(safetensors_file, kept):
    safetensors_file.write_bytes(safetensors_file.read_bytes()[:kept])
    refuses(load_state_dict, safetensors_file, match="incomplete|too short|neither")


def test_a_half_downloaded_file_says_how_much_is_there(safetensors_file):
    content = safetensors_file.read_bytes()
    safetensors_file.write_bytes(content[:-4])
    message = refuses(load_state_dict, safetensors_file, match="incomplete")
    assert f"{len(content) - 4} of {len(content)} bytes" in message


@pytest.mark.parametrize("kept", [1, 10, 200, 1000, -1, -30])
def test_half_downloaded_torch_files(torch_file, kept):
    torch_file.write_bytes(torch_file.read_bytes()[:kept])
    refuses(load_state_dict, torch_file, match="damaged|incomplete|neither|too short")


@pytest.mark.parametrize(
    "content, match",
    [
        (b"", "empty"),
        (b"\0" * 4096, "neither"),
        (b"hello", "too short"),
        (b"not weights at all, but longer", "neither"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n", "Git LFS"),
        (b"<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"\n<html><body>404</body></html>", "web page"),
        (struct.pack("<Q", 2**63) + b"{}", "neither"),
        (struct.pack("<Q", 50) + b"{", "incomplete"),
        (struct.pack("<Q", 2) + b"{}", "no weights"),
        (struct.pack("<Q", 4) + b"{{{{", "header"),
        (b"\x80\x02nonsense", "damaged|refused"),
        (b"PK\x03\x04nonsense", "damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, "neither"),
    ],
)
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_files_that_are_no_weights(tmp_path, name, content, match):
    (tmp_path / name).write_bytes(content)
    refuses(load_state_dict, tmp_path / name, match=match)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 24]},
        {"dtype": "F32", "shape": [6], "data_offsets": [0, 1 << 50]},
        {"dtype": "F32", "shape": [-6], "data_offsets": [0, 24]},
        {"dtype": "X99", "shape": [6], "data_offsets": [0, 24]},
        {"dtype": "F32", "shape": [6], "data_offsets": [24, 0]},
        {"dtype": "F32", "shape": [6]},
        [1, 2],
        "text",
    ],
)
def test_safetensors_headers_that_lie(tmp_path, entry):
    header = json.dumps({"w": entry}).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(24))
    refuses(load_state_dict, tmp_path / "w.safetensors", match="damaged|incomplete")


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_is_an_error_or_harmless(tmp_path, safetensors_file, torch_file, seed):
    """No damage to a file's structure gives anything but tensors or one sentence."""
    generator = torch.Generator().manual_seed(seed)
    for source in (safetensors_file, torch_file):
        content = bytearray(source.read_bytes())
        for _ in range(4):
            content[int(torch.randint(len(content), (), generator=generator))] = seed * 6 % 256
        damaged = tmp_path / f"damaged{source.suffix}"
        damaged.write_bytes(content)
        try:
            assert all(isinstance(tensor, torch.Tensor) for tensor in load_state_dict(damaged).values())
        except fl.FaceLiftError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("how", ["pickle", "torch", "old torch", "in the model"])
def test_a_pickle_that_would_run_code_is_refused_unexecuted(tmp_path, how, suffix):
    trap, path = tmp_path / "executed", tmp_path / f"w{suffix}"
    if how == "pickle":
        path.write_bytes(pickle.dumps(RunsCode(trap)))
    elif how == "in the model":
        torch.save({"model": {**TENSORS, "extra": RunsCode(trap)}}, path)
    else:
        torch.save(RunsCode(trap), path, _use_new_zipfile_serialization=how == "torch")
    refuses(load_state_dict, path, match="could execute code|damaged")
    assert not trap.exists()


@pytest.mark.parametrize("content", [{}, [1, 2], {"model": 3}, {"w": "text"}, {3: torch.ones(1)}, torch.ones(2)])
def test_torch_files_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    refuses(load_state_dict, tmp_path / "w.pt", match="does not hold a state dict")


def test_missing_files_and_folders(tmp_path):
    refuses(load_state_dict, tmp_path / "none.safetensors", match="is missing")
    refuses(load_state_dict, tmp_path, match="is a folder")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "nowhere")
    refuses(load_state_dict, tmp_path / "link.safetensors", match="is missing")


# --- Good files of the wrong model ---


@pytest.mark.parametrize(
    "weights, match",
    [
        ({"weight": torch.ones(2, 3)}, "lacks 1 of 2 weights .bias."),
        ({**TENSORS, "extra": torch.ones(1)}, "1 unexpected weights .extra."),
        ({**TENSORS, "weight": torch.ones(3, 2)}, r"\(3, 2\), but the model needs \(2, 3\)"),
        ({**TENSORS, "weight": torch.ones(2, 3, dtype=torch.long)}, "int64"),
    ],
)
def test_misfits(weights, match):
    refuses(load_into, torch.nn.Linear(3, 2), weights, "w.safetensors", match=match)


# --- JSON ---


@pytest.mark.parametrize(
    "content, match",
    [
        (b"", "not valid JSON"),
        (b"{", "not valid"),
        (b"[1]", "JSON object"),
        (b"\xff\xfe\0", "not valid"),
        (b"[" * 10**5, "not"),
    ],
)
def test_bad_json(tmp_path, content, match):
    (tmp_path / "c.json").write_bytes(content)
    refuses(load_json, tmp_path / "c.json", match=match)
    refuses(load_json, tmp_path / "none.json", match="missing")


# --- Writing ---


def test_files_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_safetensors(TENSORS, path, {"key": "1"})
    before = path.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    refuses(save_safetensors, {"weight": torch.zeros(9)}, path, {}, match="No space left")
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]
    refuses(save_safetensors, TENSORS, tmp_path / "none" / "w.safetensors", {}, match="Cannot write")


# --- Layout of a checkpoint ---


def test_the_released_layout(weights_folder):
    found = find_checkpoint(weights_folder)
    assert found.pipeline == weights_folder / "mvdiffusion/pipeckpts"
    assert found.gslrm.name == "ckpt_0000000000021125.pt"
    assert (found.head_dim, found.sh_degree) == (16, 0)


def test_the_newest_gslrm_is_taken(own_weights_folder):
    folder = own_weights_folder / "gslrm"
    (folder / "config.json").unlink()
    for name in ("ckpt_0000000000099999.pt", "ckpt_100000.pt", "ckpt_last.pt", "expected.safetensors"):
        (folder / name).touch()
    found = find_checkpoint(own_weights_folder)
    assert found.gslrm.name == "ckpt_100000.pt"
    assert (found.head_dim, found.sh_degree) == (64, 0)
    (folder / "ckpt_0000000000100000.safetensors").touch()
    assert find_checkpoint(own_weights_folder).gslrm.name == "ckpt_0000000000100000.safetensors"
    for path in folder.glob("ckpt_*"):
        path.unlink()
    assert find_checkpoint(own_weights_folder).gslrm.name == "expected.safetensors"


def remove(folder: Path, name: str) -> None:
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    "gone, named",
    [
        ("gslrm", "gslrm/ckpt"),
        ("gslrm/ckpt_0000000000021125.pt", "gslrm/ckpt"),
        ("mvdiffusion", "mvdiffusion/pipeckpts/feature_extractor"),
        ("mvdiffusion/pipeckpts/unet", "unet/config.json"),
        ("mvdiffusion/pipeckpts/unet/diffusion_pytorch_model.safetensors", "unet/diffusion"),
        ("mvdiffusion/pipeckpts/vae/config.json", "vae/config.json"),
        ("mvdiffusion/pipeckpts/text_encoder/model.safetensors", "text_encoder/model"),
        ("mvdiffusion/pipeckpts/tokenizer", "tokenizer/vocab"),
        ("mvdiffusion/pipeckpts/image_encoder", "image_encoder/config"),
        ("mvdiffusion/pipeckpts/scheduler", "scheduler/"),
    ],
)
def test_incomplete_downloads_name_what_is_missing(own_weights_folder, gone, named):
    remove(own_weights_folder, gone)
    refuses(find_checkpoint, own_weights_folder, match=f"incomplete: .*{named}")


def test_wrong_folders(tmp_path, own_weights_folder):
    refuses(find_checkpoint, tmp_path / "none", match="no weights at .*none")
    empty = tmp_path / "empty"
    empty.mkdir()
    refuses(find_checkpoint, empty, match="does not contain FaceLift weights; give a folder with mvdiffusion/pipeckpts")
    refuses(find_pipeline, empty, match="does not contain")
    refuses(find_checkpoint, own_weights_folder / "gslrm/config.json", match="is a file")
    refuses(find_checkpoint, own_weights_folder.parent, match=f"in a subfolder; give {own_weights_folder}")
    for part in ("gslrm", "mvdiffusion", "mvdiffusion/pipeckpts"):
        refuses(find_checkpoint, own_weights_folder / part, match=f"only part.*give the folder {own_weights_folder}")


@pytest.mark.parametrize("config", ['{"head_dim": 0}', '{"head_dim": "64"}', '{"sh_degree": 4}', '{"sh_degree": true}'])
def test_bad_gslrm_settings(own_weights_folder, config):
    (own_weights_folder / "gslrm/config.json").write_text(config)
    refuses(find_checkpoint, own_weights_folder, match="head_dim must be")


# --- The whole loader ---


@pytest.mark.parametrize(
    "part",
    [
        "mvdiffusion/pipeckpts/unet/diffusion_pytorch_model.safetensors",
        "mvdiffusion/pipeckpts/vae/diffusion_pytorch_model.safetensors",
        "mvdiffusion/pipeckpts/image_encoder/model.safetensors",
        "mvdiffusion/pipeckpts/image_normalizer/diffusion_pytorch_model.safetensors",
        "mvdiffusion/pipeckpts/text_encoder/model.safetensors",
        "gslrm/ckpt_0000000000021125.pt",
    ],
)
@pytest.mark.parametrize("damage", ["truncated", "empty", "web page", "runs code", "other weights", "one gone"])
def test_each_weight_file_damaged(own_weights_folder, part, damage):
    path, trap = own_weights_folder / part, own_weights_folder / "executed"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "web page":
        path.write_text("<!doctype html><title>404</title>")
    elif damage == "runs code":
        torch.save({"model": RunsCode(trap)}, path)
    elif damage == "other weights":
        save_file(TENSORS, path)
    else:
        weights = load_state_dict(path) if path.suffix == ".pt" else load_file(path)
        save_file({name: weights[name].clone() for name in list(weights)[1:]}, path)
    message = refuses(fl.FaceLift.from_pretrained, own_weights_folder, "cpu", match=path.name)
    assert not trap.exists() and "Traceback" not in message


# --- Devices ---


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "xpu", "meta", "", "cpu:x", "CUDA", "tpu"])
def test_unknown_or_missing_devices(name):
    refuses(select_device, name, match="use auto")


def test_automatic_device():
    assert select_device("cpu") == torch.device("cpu") == select_device(torch.device("cpu"))
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert select_device("auto").type == expected
    assert select_dtype(torch.device("cpu")) == torch.float32
    assert select_dtype(torch.device("cuda")) == select_dtype(torch.device("mps")) == torch.float16
