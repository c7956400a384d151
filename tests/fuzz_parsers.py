"""What reads files and answers of others: valid inputs for each parser, and a function that gives it one."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx2
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from facelift_core.animation.capture import Take, read_take, write_take
from facelift_core.environment import location
from facelift_core.errors import FaceLiftError
from facelift_core.gaussians import files as gaussian_files
from facelift_core.gaussians.arrays import SplatArrays
from facelift_core.gaussians.tensors import Gaussians
from facelift_core.jobs import cutout, reconstruct, weights
from facelift_core.jobs.worker import _Inbox
from facelift_core.multiview.clip import load_clip, load_image_processor
from facelift_core.multiview.loading import load_scheduler
from facelift_core.multiview.unet import load_unet
from facelift_core.multiview.vae import load_vae
from facelift_core.photos.opening import decode_content, open_photo
from facelift_core.processes.protocol import CutOut, Done, Log, Progress, decode, encode, read_request
from facelift_core.progress import Monitor
from facelift_core.weights import hub, hub_connection, import_files, licence
from facelift_core.weights.byte_progress import ByteProgress
from facelift_core.weights.catalogue import Catalogue, load_catalogue
from facelift_core.weights.layout import find_checkpoint
from facelift_core.weights.state_dict import load_state_dict
from facelift_core.weights.store import Store, read_manifest

GOLDENS = Path(__file__).parent / "goldens"


@dataclass(frozen=True)
class Parser:
    """Valid inputs, and what reads one; that may raise FaceLiftError and nothing else."""

    seeds: list[bytes]
    read: Callable[[bytes, int], None]
    text: bool = False


def photo(folder: Path) -> Parser:
    y, x = np.mgrid[0:48, 0:64]
    image = Image.fromarray(np.stack([x * 2, y * 3, 200 - y], axis=-1).astype(np.uint8))
    seeds = []
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "TGA"):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        seeds.append(buffer.getvalue())

    def read(content: bytes, case: int) -> None:
        if case % 100:
            decode_content(content, "photo")
        else:  # the whole way, with its child process
            (folder / "photo").write_bytes(content)
            open_photo(folder / "photo")

    return Parser(seeds, read)


def ply(folder: Path) -> Parser:
    g = torch.Generator().manual_seed(0)
    head = Gaussians(
        torch.randn(40, 3, generator=g), torch.randn(40, 1, 3, generator=g), torch.full((40, 3), -3.0),
        torch.randn(40, 4, generator=g), torch.randn(40, generator=g),
    )  # fmt: skip
    head.save(folder / "head.ply")
    binary = (folder / "head.ply").read_bytes()
    mesh = b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    mesh += b"element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"

    def read(content: bytes, case: int) -> None:
        (folder / "case.ply").write_bytes(content)
        gaussian_files.read(folder / "case.ply", lambda note: None)

    return Parser([binary, binary, mesh], read)


def formats(folder: Path) -> Parser:
    """A head in each of the formats in turn. USD is read in a process with limits; tests/test_hostile_formats.py."""
    draw = np.random.default_rng(0)
    head = SplatArrays(
        draw.normal(size=(40, 3)).astype(np.float32), draw.normal(size=(40, 4, 3)).astype(np.float32),
        np.full((40, 3), -3.0, np.float32), draw.normal(size=(40, 4)).astype(np.float32), np.zeros(40, np.float32),
    )  # fmt: skip
    paths = [folder / f"case{known.suffix}" for known in gaussian_files.FORMATS if "USD" not in known.name]
    for path in paths:
        gaussian_files.write(head, path)
    seeds = [path.read_bytes() for path in paths]

    def read(content: bytes, case: int) -> None:
        path = paths[case % len(paths)]
        path.write_bytes(content)
        gaussian_files.read(path, lambda note: None)

    return Parser(seeds, read, text=True)


def weight_files(folder: Path) -> Parser:
    tensors = {"weight": torch.arange(60.0).reshape(20, 3), "bias": torch.ones(2), "steps": torch.arange(5)}
    save_file(tensors, folder / "a")
    torch.save({"model": tensors}, folder / "b")
    torch.save(tensors, folder / "c", _use_new_zipfile_serialization=False)

    def read(content: bytes, case: int) -> None:
        (folder / f"case{case % 2}.pt").write_bytes(content)
        load_state_dict(folder / f"case{case % 2}.pt")

    return Parser([(folder / name).read_bytes() for name in "abc"], read)


def config(folder: Path) -> Parser:
    """Each seed is the name of a file, a line break, and its content; the name is kept."""
    from diffusers import DDIMScheduler, DDPMScheduler
    from transformers import CLIPVisionModelWithProjection

    shutil.copytree(GOLDENS / "mvdiffusion", folder / "mvdiffusion")
    (folder / "gslrm").mkdir()
    shutil.copy(GOLDENS / "gslrm" / "ckpt_0000000000021125.pt", folder / "gslrm")
    pipeline = folder / "mvdiffusion" / "pipeckpts"
    readers: dict[Path, Callable[[], object]] = {
        pipeline / "unet/config.json": lambda: load_unet(pipeline / "unet"),
        pipeline / "vae/config.json": lambda: load_vae(pipeline / "vae"),
        pipeline / "image_encoder/config.json": lambda: load_clip(
            CLIPVisionModelWithProjection, pipeline / "image_encoder"
        ),
        pipeline / "scheduler/scheduler_config.json": lambda: load_scheduler(DDIMScheduler, pipeline / "scheduler"),
        pipeline / "image_noising_scheduler/scheduler_config.json": lambda: load_scheduler(
            DDPMScheduler, pipeline / "image_noising_scheduler"
        ),
        pipeline / "feature_extractor/preprocessor_config.json": lambda: load_image_processor(
            pipeline / "feature_extractor"
        ),
        folder / "gslrm/config.json": lambda: find_checkpoint(folder),
        folder / "released.json": lambda: load_catalogue(folder / "released.json"),
        folder / "manifest.json": lambda: read_manifest(folder),
        folder / location.MARKER: lambda: location.read(folder),
    }
    (folder / "gslrm/config.json").write_text('{"head_dim": 16, "sh_degree": 0}')
    shutil.copy(Path(gaussian_files.__file__).parents[1] / "weights" / "released.json", folder)
    (folder / "manifest.json").write_text('{"name": "a", "files": {"a.json": {"sha256": "00", "bytes": 3}}}')
    location.write(folder, location.Installation(str(folder), True, "1", ["torch==2"], "cpu", "python", ["note"]))
    seeds = [f"{index}\n".encode() + path.read_bytes() for index, path in enumerate(readers)]
    contents = [path.read_bytes() for path in readers]

    def read(content: bytes, case: int) -> None:
        index = case % len(readers)
        path, reader = list(readers.items())[index]
        path.write_bytes(content.partition(b"\n")[2] or content)
        try:
            reader()
        finally:
            path.write_bytes(contents[index])

    return Parser(seeds, read, text=True)


def archive(folder: Path) -> Parser:
    files = {"LICENSE": b"Use it for nothing.", "gslrm/a.pt": bytes(range(256)) * 20, "unet/config.json": b'{"a": 1}'}
    own = _store(folder, files)
    seeds = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as made:
            for name, content in files.items():
                made.writestr(f"top/{name}", content)
        seeds.append(buffer.getvalue())

    def read(content: bytes, case: int) -> None:
        (folder / "case.zip").write_bytes(content)
        import_files.unpack(own, folder / "case.zip", Monitor("import"))
        assert all((own.original / name).read_bytes() == data for name, data in files.items()), "something else passed"

    return Parser(seeds, read)


def hub_answers(folder: Path) -> Parser:
    """Each seed is an answer: a status, headers as JSON, and a body, in lines; the first three requests get it."""
    files = {"LICENSE": b"Use it for nothing.", "gslrm/a.pt": bytes(range(256)) * 20}
    own = _store(folder, files)
    entries = [{"rfilename": path, "size": len(content), "blobId": "0" * 40} for path, content in files.items()]
    listing = json.dumps({"siblings": entries}).encode()
    seeds = [
        b'200\n{"Content-Type": "application/json"}\n' + listing,
        b'200\n{"Content-Length": "5120"}\n' + files["gslrm/a.pt"],
        b'206\n{"Content-Range": "bytes 100-5119/5120"}\n' + files["gslrm/a.pt"][100:],
        b'503\n{"Retry-After": "1"}\nno',
        b'302\n{"Location": "http://localhost/elsewhere"}\n',
    ]

    def read(content: bytes, case: int) -> None:
        status, _, rest = content.partition(b"\n")
        headers, _, body = rest.partition(b"\n")
        try:
            said = {k: v for k, v in json.loads(headers).items() if isinstance(v, str)}
        except (ValueError, AttributeError, RecursionError):
            said = {"Content-Type": headers[:99].decode("latin-1")}
        code = int(status) if status.isdigit() and len(status) == 3 and status >= b"200" else 200
        raw = [(k.encode("latin-1", "replace"), v.encode("latin-1", "replace")) for k, v in said.items()]

        def answer(request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(code, headers=raw, stream=httpx2.ByteStream(body))

        session = httpx2.Client(transport=httpx2.MockTransport(answer))
        hub_connection.get_session = lambda: session
        part = folder / "part"
        part.write_bytes(files["gslrm/a.pt"][:100])
        remote = hub.Remote("gslrm/a.pt", 5120, "0" * 64)
        try:
            if case % 2:
                hub.list_files(own.catalogue, Monitor("download"), (0.0,))
            else:
                hub.fetch(own.catalogue, remote, part, ByteProgress(Monitor("download"), "", 5120), (0.0,))
        finally:
            assert not part.exists() or part.stat().st_size <= 5120, "more was written than was announced"

    hub_connection._wait = lambda seconds, monitor: None
    os.environ.update(HF_HUB_DISABLE_IMPLICIT_TOKEN="1", HF_ENDPOINT="http://localhost")
    return Parser(seeds, read, text=True)


def protocol(folder: Path) -> Parser:
    events = [
        Progress("views", 0.5, "Schritt"), Log("line"), CutOut("a.png", "b.png", ("note",)),
        Done({"photo": "a", "timings": {"a": 1.5}}),
    ]  # fmt: skip
    requests = [reconstruct.Request("a.jpg", "out"), cutout.Request("a.jpg", "b.png"), weights.Request("verify")]
    lines = [encode(event, "job").encode() for event in events]
    lines += [json.dumps({"do": "weights", "job": "1", "request": asdict(request)}).encode() for request in requests]

    def read(content: bytes, case: int) -> None:
        decode(content)
        inbox = _Inbox(lambda message: None, lambda sentence: None)
        inbox.read(io.BytesIO(content))
        assert inbox.closed.is_set()
        while (message := inbox.messages.get()) is not None:
            for cls in (reconstruct.Request, cutout.Request, weights.Request):
                try:
                    read_request(cls, message.get("request"), set())
                except FaceLiftError:
                    pass

    return Parser(lines, read, text=True)


def _store(folder: Path, files: dict[str, bytes]) -> Store:
    """A store for a catalogue of these files, whose licence is accepted."""
    checksums = {p: hashlib.sha256(c).hexdigest() if p.endswith(".pt") else None for p, c in files.items()}
    own = Store(Catalogue("a", "A", "b/c", "d", "L", "L", checksums, 10**6, 10**6), folder / "store")
    licence.keep_text(own, files["LICENSE"])
    licence.accept(own)
    return own


def captures(folder: Path) -> Parser:
    """Face captures; each seed is a whole .csv or .json."""
    take = Take(np.full((3, 52), 0.25, np.float32), np.zeros((3, 3), np.float32), np.arange(3) / 30)
    write_take(take, folder / "take.csv")
    write_take(take, folder / "take.json")
    seeds = [(folder / "take.csv").read_bytes(), (folder / "take.json").read_bytes()]
    seeds.append(b"time;mouthSmile_R;jawOpen\n0,0;0,5;1\n0,1;;1\n")
    seeds.append(b'{"exportFps": 30, "facsNames": ["jawOpen", "browInnerUp"], "weightMat": [[0.1, 0], [0.2, 1]]}')
    seeds.append(b'[{"timecode": "00:00:01:02.5", "blendShapes": {"jawOpen": 0.5, "tongueOut": 1}, "HeadYaw": 3}]')

    def read(content: bytes, case: int) -> None:
        (folder / "case.csv").write_bytes(content)
        found = read_take(folder / "case.csv")
        assert found.weights.shape == (len(found), 52) and 0 <= found.weights.min() <= found.weights.max() <= 1
        assert np.isfinite(found.head).all() and (np.diff(found.times) > 0).all()

    return Parser(seeds, read, text=True)


PARSERS: dict[str, Callable[[Path], Parser]] = {
    "photo": photo,
    "ply": ply,
    "formats": formats,
    "weights": weight_files,
    "config": config,
    "zip": archive,
    "hub": hub_answers,
    "protocol": protocol,
    "captures": captures,
}
