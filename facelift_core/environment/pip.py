"""Run pip in the environment: parse its progress, and turn its errors into one sentence each.

pip's own settings apply: its configuration files, PIP_INDEX_URL and other PIP_… variables, HTTPS_PROXY.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import Cancelled, FaceLiftError
from ..processes import launch

DOWNLOADS = "downloads"
"""Folder for pip's downloads, inside the runtime folder; lets an interrupted installation resume."""
MISPLACING = ("TARGET", "PREFIX", "ROOT", "USER", "DRY_RUN", "QUIET", "VERBOSE", "PROGRESS_BAR", "REPORT", "LOG")
"""PIP_… settings that would install packages elsewhere or suppress the output we parse."""
OWN_INDEX = re.compile(r"\.(index-url|extra-index-url|no-index)=", re.MULTILINE)
GUARDED = """
import os, runpy, threading
def end_with_parent():
    os.read(0, 1)
    os._exit(3)
threading.Thread(target=end_with_parent, daemon=True).start()
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
"""Runs pip and exits when standard input closes, so that pip does not keep running after Blender has crashed."""
SPEED_SECONDS = 15.0
WORDS_KEPT = 60

_HOST = re.compile(r"https?://(?:[^@/\s]*@)?([^/:\s'\"]+)")

FAILURES: tuple[tuple[str, str], ...] = (
    (
        r"No space left on device|Errno 28|not enough space on the disk|Disk quota exceeded",
        "The disk of {folder} is full; free some space, then install again to resume.",
    ),
    (
        r"DO NOT MATCH THE HASHES|do not match the hash|Bad (?:magic number|CRC-32)|is invalid: (?:File|Metadata)"
        r"|Wheel .* is invalid|BadZipFile",
        "The checksum of {what} is wrong: it was damaged or changed during the download; install again, and if that "
        "does not help, check your proxy or mirror.",
    ),
    (
        r"\b407\b|Proxy Authentication Required",
        "The proxy requires a user name and password; enter it as http://name:password@host:port.",
    ),
    (r"ProxyError|Cannot connect to proxy", "The proxy cannot be reached; check its address."),
    (
        r"\b401\b(?: Client)? Error|\b403\b Client Error|User for .*: *$",
        "{host} denies access; check the user name and password in the address of the package index.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerificationError",
        "The certificate of {host} is not trusted; if you use a proxy, set SSL_CERT_FILE to its certificate.",
    ),
    (
        r"NameResolutionError|NewConnectionError|Failed to establish a new connection|getaddrinfo failed"
        r"|Temporary failure in name resolution|ConnectTimeoutError|Network is unreachable|connection failed"
        r"|ConnectionRefusedError|Connection refused|ConnectionResetError",
        "{host} cannot be reached; check your internet connection and, if you use one, your proxy.",
    ),
    (
        r"ReadTimeout|IncompleteRead|incomplete-download|Connection broken|ChunkedEncodingError|Read timed out",
        "The connection was lost; install again to resume the download.",
    ),
    (
        r"located at (?P<name>\S+) is not a trusted or secure host",
        "pip refuses {name} because it uses plain HTTP; if you trust it, set PIP_TRUSTED_HOST to its name.",
    ),
    (
        r"HTTP error (?P<status>\d+)|(?P<error>\d{3}) (?:Client|Server) Error|too many (?P<many>\d{3}) error responses",
        "{host} returned error {status} for {what}; try again later, or use another package index.",
    ),
    (
        r"(?:Could not find a version that satisfies the requirement|No matching distribution found for) (?P<name>\S+)",
        "{source} has no {name} for this Python and system.",
    ),
    (r"Permission denied|Errno 13|WinError 5\b", "Cannot write files in {folder}; close programs that use them."),
    (r"MemoryError", "There is not enough memory to unpack PyTorch; close other programs and install again."),
)
"""Patterns in pip's output, the most specific first, and the sentences shown to the user."""


@dataclass(frozen=True)
class Sources:
    """Where packages come from.

    Attributes:
        index_url: package index to use instead of the one pip is configured with; may contain user name and password.
        proxy: such as http://name:password@host:port.
        wheels: folder of wheels, for an offline installation.
    """

    index_url: str = ""
    proxy: str = ""
    wheels: Path | None = None

    def arguments(self) -> list[str]:
        if self.wheels is not None:
            return ["--no-index", "--find-links", str(self.wheels)]
        given = ["--index-url", self.index_url] if self.index_url else []
        return given + (["--proxy", self.proxy] if self.proxy else [])


@dataclass
class Meter:
    """Parses pip's output to measure its progress.

    Attributes:
        expected: approximate bytes of all downloads.
        got: bytes of finished downloads.
        name: the current package.
        done, size: bytes received and total bytes of the current download.
        unpacking: names of the packages being installed, once all are downloaded.
    """

    expected: int
    got: int = 0
    name: str = ""
    done: int = 0
    size: int = 0
    unpacking: list[str] = field(default_factory=list)
    _speeds: deque[tuple[float, int]] = field(default_factory=deque)

    def read(self, line: str) -> bool:
        """Parse a line of output. Return whether it belongs in the log."""
        if found := re.fullmatch(r"Progress (\d+) of (\d+)", line):
            self.done, self.size = int(found[1]), int(found[2])
            self._speeds.append((time.monotonic(), self.got + self.done))
            while len(self._speeds) > 2 and self._speeds[-1][0] - self._speeds[0][0] > SPEED_SECONDS:
                self._speeds.popleft()
            return False
        if found := re.match(r"\s*(Downloading|Using cached) (\S+)(?: \(([\d.]+) (bytes|[kMG]B)\))?", line):
            self.got += self.size
            file = found[2].rstrip("/").rsplit("/", 1)[-1]
            self.name, self.size, self.done = file.split("-", 1)[0], _bytes(found[3], found[4]), 0
            if found[1] == "Using cached":
                self.got, self.size = self.got + self.size, 0
                self._speeds.clear()
        elif line.startswith("Installing collected packages:"):
            self.got, self.size = self.got + self.size, 0
            self.unpacking = [name.strip() for name in line.partition(":")[2].split(",")]
        elif found := re.match(r"(?:Collecting|Processing) (\S+)", line):
            self.name = re.split(r"[<>=!~\[;]", found[1].rsplit("/", 1)[-1])[0].split("-")[0]
        return bool(line.strip())

    @property
    def fraction(self) -> float:
        """Fraction of the downloads that is done, in [0, 1]."""
        if self.unpacking:
            return 1.0
        return min(0.99, (self.got + self.done) / max(self.expected, 1))

    @property
    def left(self) -> float | None:
        """Estimated seconds until the downloads finish, from the recent speed; None if unknown."""
        if self.unpacking or len(self._speeds) < 2:
            return None
        (start, before), (end, after) = self._speeds[0], self._speeds[-1]
        if end - start < 1.0 or after <= before:
            return None
        return max(0, self.expected - self.got - self.done) * (end - start) / (after - before)

    @property
    def message(self) -> str:
        if self.size >= 10**6:
            return f"Downloading {self.name}: {self.done / 1e6:.0f} of {self.size / 1e6:.0f} MB"
        return f"Looking for {self.name}" if self.name else "Looking for the downloads"


def environment(folder: Path) -> launch.Changes:
    """Return the changes to the environment variables for pip.

    Packages go into the environment. Temporary files go into the runtime folder, because the system's temporary folder
    is often small or in memory.
    """
    temporary = folder / DOWNLOADS / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    settings = {"USER": "0", "DISABLE_PIP_VERSION_CHECK": "1", "NO_INPUT": "1", "NO_COLOR": "1"}
    return {
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary)),
        **{f"PIP_{name}": value for name, value in {**dict.fromkeys(MISPLACING), **settings}.items()},
    }


def has_own_index(python: Path, folder: Path) -> bool:
    """Return whether pip is configured to use another index than PyPI; PyTorch must then come from there too."""
    said: list[str] = []
    with launch.Child(launch.isolated(python, "-m", "pip", "config", "list"), environment(folder)) as child:
        child.follow(lambda line: said.append(line or ""))
    return bool(OWN_INDEX.search("\n".join(said)))


def install(
    python: Path,
    folder: Path,
    requirements: Sequence[str],
    sources: Sources,
    version: tuple[int, ...],
    each: Callable[[str | None], None],
    cancelled: Callable[[], bool],
) -> None:
    """Install `requirements` with the environment's pip. Installed packages that satisfy them are kept.

    Requirements with hashes are installed as they are listed, without what they depend on.

    Args:
        python: the environment's Python.
        folder: the runtime folder.
        requirements: requirement specifiers.
        sources: where packages come from.
        version: version of the environment's pip; 24.1 and newer report progress in a machine-readable format.
        each: called with every line of output, and with None a few times a second.
        cancelled: polled; returns true to stop.

    Raises:
        FaceLiftError: pip failed; the message says why in one sentence.
        Cancelled: pip was killed. Finished downloads are kept in the folder.
    """
    last: deque[str] = deque(maxlen=WORDS_KEPT)

    def hear(line: str | None) -> None:
        if cancelled():
            raise Cancelled
        if line and not line.startswith("Progress "):
            last.append(line)
        each(line)

    arguments = ["install", "--only-binary", ":all:", "--no-compile", "--no-warn-script-location"]
    arguments += ["--cache-dir", str(folder / DOWNLOADS), "--progress-bar", "raw" if version >= (24, 1) else "off"]
    if any("--hash=" in line for line in requirements):
        listed = folder / DOWNLOADS / "requirements.txt"
        listed.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        requirements = ["--require-hashes", "--no-deps", "--requirement", str(listed)]
    log = folder / DOWNLOADS / "pip.log"
    arguments += ["--log", str(log)]
    command = launch.isolated(python, "-c", GUARDED, *arguments, *sources.arguments(), *requirements)
    own = environment(folder)
    log.unlink(missing_ok=True)
    with launch.Child(command, own, said="") as child:
        code = child.follow(hear)
    if code:
        raise FaceLiftError(failure([*_unreachable(log), *last], folder, sources, code))


def failure(lines: Sequence[str], folder: Path, sources: Sources, code: int = 1) -> str:
    """Explain pip's last lines of output in one sentence."""
    text = "\n".join(lines)
    urls = _HOST.findall(text.replace("https://pip.pypa.io", "")) or _HOST.findall(sources.index_url)
    packages = re.findall(r"(?:Collecting|Downloading|Using cached|Processing) (\S+)", text)
    host = re.search(r"host='([^']+)'", text)
    for pattern, sentence in FAILURES:
        if found := re.search(pattern, text):
            named = found.groupdict()
            return sentence.format(
                folder=folder,
                host=host[1] if host else (urls[-1] if urls else "The package index"),
                source=sources.wheels or "The package index",
                what=packages[-1].rsplit("/", 1)[-1] if packages else "A package",
                name=(named.get("name") or "").rstrip(";,:"),
                status=named.get("status") or named.get("error") or named.get("many") or "",
            )
    if code in (-9, 137):
        return "The system killed the installation, probably for lack of memory; close other programs and try again."
    errors = [line for line in lines if line.startswith("ERROR:")] or list(lines)
    return f"pip failed: {errors[-1].removeprefix('ERROR: ').strip()}" if errors else f"pip failed (exit code {code})."


def _unreachable(log: Path) -> list[str]:
    """Return the index pages that pip could not fetch, which it reports only in its log file.

    Pages that do not exist are left out: of several indexes, only one may have a package.
    """
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if "Could not fetch URL" in line and "404 Client Error" not in line][-3:]


def _bytes(number: str | None, unit: str | None) -> int:
    if not number:
        return 0
    return int(float(number) * {"bytes": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}[unit or "bytes"])
