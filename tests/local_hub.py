"""A server on this machine that speaks the Hugging Face hub's protocol for one small repository, and misbehaves.

    with LocalHub(files, repository="wlyu/OpenFaceLift", revision="…") as hub:
        environment = {**os.environ, **hub.environment}   # HF_ENDPOINT and what keeps the token of this machine out
        hub.cut["gslrm/ckpt_0000000000021125.pt"] = [1000]  # the first answer with it ends after 1000 bytes

Served are HEAD and GET of /{repository}/resolve/{revision}/{path} with ETag, X-Repo-Commit, X-Linked-Size and Range;
files of more than ``LARGE`` bytes redirect to another address, as those in the hub's large storage do. And
/api/models/{repository}/revision/{revision} with the files' sizes and checksums.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from facelift_core.weights.catalogue import Catalogue

LARGE = 20_000
LICENCE = "Research Licence of this test\n\nUse it for nothing but tests. Ünïcode, too.\n"


@dataclass
class LocalHub:
    """The repository and how its server misbehaves; what is in the lists is used up, one entry per request.

    Attributes:
        files: content by path.
        status: path → codes to answer with; "api" for the listing.
        cut: path → bytes after which the connection is cut.
        stall: path → bytes after which nothing comes any more, until the server ends.
        token: if not empty, every request must carry it.
        bytes_per_second: of each answer; 0 is at once.
        served: content that is sent in place of what the listing tells of.
        stalling: answers that are stuck right now.
        ignores_range: answers ranges with the whole file.
        listing: what to answer in place of the listing.
        endless: what is sent again and again after an answer, by path.
        headers: what to add to the headers of an answer, by path.
        sizes: whether the listing tells sizes and checksums, as some mirrors' do not.
        requests: (method, path, Range header or "") as they came.
        tokens: the Authorization headers that came, with the kind of address ("hub" or "large").
    """

    files: dict[str, bytes]
    repository: str = "wlyu/OpenFaceLift"
    revision: str = "3ebac9f8e2d791f02507b8aa61520e1ba379a115"
    status: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    cut: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    stall: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    token: str = ""
    bytes_per_second: int = 0
    ignores_range: bool = False
    served: dict[str, bytes] = field(default_factory=dict)
    stalling: int = 0
    listing: bytes | None = None
    endless: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    sizes: bool = True
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    tokens: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> LocalHub:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="hub", args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """For a process that is to use this hub, without any token that this machine may have."""
        return {
            "HF_ENDPOINT": self.address,
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            "HF_HUB_OFFLINE": "0",
            "TRANSFORMERS_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def catalogue(self, **changes) -> Catalogue:
        """What this repository is, with true checksums for its weight files."""
        return Catalogue(**{**self.catalogue_data(), **changes})

    def catalogue_data(self) -> dict:
        total = sum(map(len, self.files.values()))
        return {
            "name": "released",
            "title": "Small weights of the tests",
            "repository": self.repository,
            "revision": self.revision,
            "licence": "Research Licence",
            "licence_summary": "For tests only.",
            "download_bytes": total,
            "converted_bytes": total // 2,
            "files": {
                path: hashlib.sha256(content).hexdigest() if path.endswith((".pt", ".safetensors")) else None
                for path, content in self.files.items()
            },
        }

    def write_catalogue(self, path: Path) -> Path:
        """As a file, for FACELIFT_CATALOGUE."""
        path.write_text(json.dumps(self.catalogue_data()), encoding="utf-8")
        return path

    def asked_for(self, path: str) -> list[str]:
        """The Range headers with which a file's bytes were asked for."""
        return [ranges for method, wanted, ranges in self.requests if method == "GET" and wanted == path]


def repository_of(weights: Path) -> dict[str, bytes]:
    """The files of a checkpoint folder in the released layout, with a licence, as the hub would have them."""
    files = {p.relative_to(weights).as_posix(): p.read_bytes() for p in sorted(weights.rglob("*")) if p.is_file()}
    files.pop("mvdiffusion/pipeckpts/prompt_embeds.safetensors", None)
    files.pop("mvdiffusion/pipeckpts/model_index.json", None)
    return {"LICENSE": LICENCE.encode(), **files}


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        """Not to the tests' output."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        hub, path = self.hub, unquote(self.path.split("?")[0])
        resolve, large = f"/{hub.repository}/resolve/{hub.revision}/", "/large/"
        kind = "large" if path.startswith(large) else "hub"
        hub.tokens.append((kind, self.headers.get("Authorization", "")))
        if path == f"/api/models/{hub.repository}/revision/{hub.revision}":
            name = "api"
        elif path.startswith(resolve) or path.startswith(large):
            name = path.removeprefix(resolve).removeprefix(large)
        else:
            self._refuse(404, "RevisionNotFound" if f"/{hub.repository}/" in path else "RepoNotFound")
            return
        hub.requests.append((self.command, name, self.headers.get("Range", "")))
        if hub.token and kind == "hub" and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._refuse(401, "GatedRepo")
            return
        if hub.status[name]:
            code = hub.status[name].pop(0)
            self._refuse(code, {404: "EntryNotFound"}.get(code, ""))
        elif name == "api":
            listing = json.dumps(self._listing()).encode() if hub.listing is None else hub.listing
            self._send(200, listing, with_body, {"Content-Type": "application/json"}, "api")
        elif name not in hub.files:
            self._refuse(404, "EntryNotFound")
        else:
            self._file(name, kind, with_body)

    def _file(self, name: str, kind: str, with_body: bool) -> None:
        hub, content = self.hub, self.hub.served.get(name, self.hub.files[name])
        headers = {
            "X-Repo-Commit": hub.revision,
            "ETag": f'"{hashlib.sha256(content).hexdigest() if len(content) > LARGE else _blob(content)}"',
            "Accept-Ranges": "bytes",
        }
        if kind == "hub" and len(content) > LARGE:
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-ETag": headers["ETag"]}
            # Another host, so that clients must not send their token along.
            place = f"http://localhost:{self.server.server_address[1]}/large/{name}"
            self._send(302, b"", with_body, {**headers, "Location": place})
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and not hub.ignores_range:
            first = int(wanted[1])
            if first >= len(content):
                self._send(416, b"", with_body, {**headers, "Content-Range": f"bytes */{len(content)}"})
                return
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            self._send(206, content[first:], with_body, headers, name)
        else:
            self._send(200, content, with_body, headers, name)

    def _send(self, code: int, body: bytes, with_body: bool, headers: dict[str, str], name: str = "") -> None:
        self.send_response(code)
        more = self.hub.endless.get(name)
        length = {} if more else {"Content-Length": str(len(body))}
        for key, value in {**headers, **length, **self.hub.headers.get(name, {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self._body(body, name)
        if with_body and more:
            self.close_connection = True
            with suppress(OSError):
                while not self.hub._ended.is_set():
                    self.wfile.write(more)

    def _body(self, body: bytes, name: str) -> None:
        hub = self.hub
        end = hub.cut[name].pop(0) if hub.cut[name] else None
        stall = hub.stall[name].pop(0) if hub.stall[name] else None
        limit = min((n for n in (end, stall) if n is not None), default=len(body))
        for block in _blocks(body[:limit], hub.bytes_per_second):
            try:
                self.wfile.write(block)
                self.wfile.flush()
            except OSError:
                return
            if hub.bytes_per_second and hub._ended.wait(len(block) / hub.bytes_per_second):
                return
        if stall is not None:
            hub.stalling += 1
            hub._ended.wait(60)
            hub.stalling -= 1
        if limit < len(body):
            self.close_connection = True
            self.connection.close()

    def _refuse(self, code: int, error: str) -> None:
        headers = {"X-Error-Code": error} if error else {}
        self._send(code, b"no", self.command == "GET", headers, "refusal")

    def _listing(self) -> dict:
        siblings = []
        for path, content in self.hub.files.items():
            entry = {"rfilename": path}
            if self.hub.sizes:
                entry |= {"size": len(content), "blobId": _blob(content)}
            if self.hub.sizes and len(content) > LARGE:
                checksum = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": checksum, "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        return {"id": self.hub.repository, "sha": self.hub.revision, "siblings": siblings}


def _blob(content: bytes) -> str:
    """The checksum by which Git, and so the hub, knows a small file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _blocks(body: bytes, bytes_per_second: int) -> Iterable[bytes]:
    size = max(1, bytes_per_second // 20) if bytes_per_second else len(body) or 1
    return (body[start : start + size] for start in range(0, len(body), size))


def wait_until(condition, seconds: float = 30.0) -> None:
    """For something that another thread or process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)
