"""Wheels of a few bytes, and a package index on localhost that serves them and misbehaves when told to."""

from __future__ import annotations

import base64
import hashlib
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def make_wheel(
    folder: Path, name: str, version: str, requires: Sequence[str] = (), tag: str = "py3-none-any", size: int = 0
) -> Path:
    """A wheel of the module `name`; `size` more bytes that do not compress."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    module = name.replace("-", "_").lower()
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {line}" for line in requires]
    files = {
        f"{module}/__init__.py": f"__version__ = {version!r}\n".encode(),
        f"{info}/METADATA": ("\n".join(metadata) + "\n").encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    if size:
        files[f"{module}/ballast.bin"] = hashlib.shake_128(name.encode()).digest(size)
    record = "".join(f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in files.items():
            archive.writestr(entry, data)
    return path


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@dataclass
class Index:
    """A running index.

    Attributes:
        url: of its list of packages.
        proxy: to be named as an HTTP proxy; it answers for every host.
        asked: what has been asked for, in order, as "path" or as a whole address by those who take it for a proxy.
        served: bytes of wheels sent, by file name.
        status: error to answer with, by the beginning of the path.
        false_hashes: names of files whose checksum is told wrong.
        holds: names of files of which half is sent, and the rest when `go_on` is set.
        cuts: names of files of which half is sent, and then the connection closed.
        password: "name:password" that has to be given.
    """

    url: str
    proxy: str
    asked: list[str] = field(default_factory=list)
    served: dict[str, int] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    false_hashes: set[str] = field(default_factory=set)
    holds: set[str] = field(default_factory=set)
    cuts: set[str] = field(default_factory=set)
    password: str = ""
    held: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(folder: Path) -> Iterator[Index]:
    """Serve the wheels in `folder` by PEP 503."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            path = self.path.split("://", 1)[-1]
            path = path[path.index("/") :] if "://" in self.path else path
            status = next((code for start, code in index.status.items() if path.startswith(start)), 0)
            if index.password and self.headers.get("Authorization") != _basic(index.password):
                status = 401
            if status:
                self.answer(status, b"")
            elif path.startswith("/files/"):
                self.wheel(path.removeprefix("/files/"))
            elif path.startswith("/simple/"):
                self.listing(path.removeprefix("/simple/").strip("/"))
            else:
                self.answer(404, b"")

        def listing(self, name: str) -> None:
            found = [p for p in sorted(folder.glob("*.whl")) if p.name.split("-")[0].lower().replace("_", "-") == name]
            if not found:
                self.answer(404, b"")
                return
            lines = []
            for path in found:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                digest = "0" * 64 if path.name in index.false_hashes else digest
                lines.append(f'<a href="/files/{path.name}#sha256={digest}">{path.name}</a>')
            self.answer(200, "<!DOCTYPE html><html><body>{}</body></html>".format("\n".join(lines)).encode())

        def wheel(self, name: str) -> None:
            data = (folder / name).read_bytes()
            tag = f'"{hashlib.md5(data).hexdigest()}"'
            if self.headers.get("If-None-Match") == tag:
                self.answer(304, b"")
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", tag)
            self.end_headers()
            half = len(data) // 2
            try:
                self.wfile.write(data[:half])
                self.wfile.flush()
                if name in index.cuts:
                    self.connection.close()
                    return
                if name in index.holds:
                    index.held.set()
                    index.go_on.wait(60)
                self.wfile.write(data[half:])
                index.served[name] = index.served.get(name, 0) + len(data)
            except OSError:  # who asked is gone
                pass

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="tests"')
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    address = f"http://127.0.0.1:{server.server_address[1]}"
    index = Index(f"{address}/simple", address)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield index
    finally:
        index.go_on.set()
        server.shutdown()
        server.server_close()


def _basic(password: str) -> str:
    return "Basic " + base64.b64encode(password.encode()).decode()
