"""Give every parser thousands of damaged inputs: python tests/fuzz.py [--cases 3000] [PARSER…]

The seeds are fixed, so every run has the same cases. Each parser runs in a process of its own. Counted are exceptions
other than FaceLiftError, cases over ten seconds of processor time, and memory over three times the expected; any of
them makes the exit code 1, and the input is kept in a file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

NAMES = ("photo", "ply", "formats", "weights", "config", "zip", "hub", "protocol")
SECONDS = 10.0
EXPECTED_MEMORY = 100 << 20
"""What reading a small valid input may take beyond its own bytes: buffers, caches of libraries."""
NASTY = [
    b"0", b"-1", b"1e999", b"NaN", b"null", b"true", b"[]", b"{}", b'""', b"99999999999999999999", b"4294967295",
    b"\x00", b"\xff\xfe", b"[" * 60, b"{" * 2000, b'"\\ud800"', b"1" * 5000, b"../../x", b"\n", b"\r\n", b" " * 300,
]  # fmt: skip


def mutated(seed: bytes, source: random.Random, text: bool) -> bytes:
    """Damage an input in one to six ways."""
    data = bytearray(seed)
    for _ in range(source.randint(1, 6)):
        at = source.randrange(len(data) + 1)
        match source.randrange(8):
            case 0:
                for _ in range(source.randint(1, 8)):
                    if data:
                        data[source.randrange(len(data))] = source.randrange(256)
            case 1:  # mostly in the header
                if data:
                    data[source.randrange(min(64, len(data)))] ^= 1 << source.randrange(8)
            case 2:
                del data[at:]
            case 3:
                del data[at : at + source.randint(1, 40)]
            case 4:
                data[at:at] = data[at : at + source.randint(1, 200)] * source.randint(1, 20)
            case 5:
                data[at:at] = source.choice(NASTY)
            case 6:
                data[at : at + 4] = source.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\xff\xff\xff\x7f"))
            case 7 if text:  # another value for one of its numbers or words
                places = list(re.finditer(rb'-?\d[\d.e+-]*|"[^"]*"|true|false|null|\w+', bytes(data)))
                if places:
                    place = source.choice(places)
                    data[place.start() : place.end()] = source.choice(NASTY)
    return bytes(data)


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    import resource

    status = Path("/proc/self/status")
    if status.exists():  # elsewhere ru_maxrss, which on Linux begins with what the parent had
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def fuzz(name: str, cases: int, keep: Path) -> dict[str, object]:
    """Run the cases of one parser in this process and return what was counted."""
    from fuzz_parsers import PARSERS

    from facelift_core.errors import FaceLiftError

    def too_long(*_) -> None:
        raise TimeoutError(f"more than {2 * SECONDS:.0f} seconds")

    signal.signal(signal.SIGALRM, too_long)
    found = {"parser": name, "cases": cases, "refused": 0, "exceptions": 0, "slow": 0, "slowest": 0.0, "problems": []}
    with tempfile.TemporaryDirectory() as temporary:
        parser = PARSERS[name](Path(temporary))
        for case, seed in enumerate(parser.seeds):
            try:
                parser.read(seed, case)
            except FaceLiftError:
                pass
        before = peak()
        for case in range(cases):
            source = random.Random(f"{name} {case}")
            content = mutated(parser.seeds[case % len(parser.seeds)], source, parser.text)
            began = time.process_time()
            signal.alarm(int(3 * SECONDS))
            problem = ""
            try:
                parser.read(content, case)
            except FaceLiftError as error:
                found["refused"] += 1
                if "\n" in str(error).strip() or not str(error):
                    problem = f"not one sentence: {error!r}"
            except BaseException:
                found["exceptions"] += 1
                problem = traceback.format_exc()
            signal.alarm(0)
            took = time.process_time() - began
            found["slowest"] = max(found["slowest"], took)
            if took > SECONDS:
                found["slow"] += 1
                problem = problem or f"{took:.1f} s"
            if problem:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name}_{case}").write_bytes(content)
                found["problems"].append(f"{name} {case}: {problem[-1500:]}")
        found["memory"] = (peak() - before) >> 20
    if found["memory"] > 3 * EXPECTED_MEMORY >> 20:
        found["problems"].append(f"{name}: {found['memory']} MB")
    return found


def main() -> int:
    from_here = Path(__file__).resolve()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parsers", nargs="*", metavar="PARSER", help=", ".join(NAMES))
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "facelift_fuzz")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(fuzz(options.parsers[0], options.cases, options.keep)))
        return 0
    names = options.parsers or NAMES
    path = os.pathsep.join((str(from_here.parent), str(from_here.parents[1])))
    bad = 0
    print(
        "| parser | cases | refused | other exceptions | over 10 s | slowest | memory |\n|---|---|---|---|---|---|---|"
    )
    for name in names:
        command = [sys.executable, str(from_here), name, "--here", "--cases", str(options.cases)]
        command += ["--keep", str(options.keep)]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True,
                              text=True)  # fmt: skip
        if done.returncode:
            bad += 1
            print(f"| {name} | died: {done.returncode} |\n{done.stderr[-2000:]}", flush=True)
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            "| {parser} | {cases} | {refused} | {exceptions} | {slow} | {slowest:.2f} s | {memory} MB |".format(**found)
        )
        sys.stdout.flush()
        for problem in found["problems"][:5]:
            print(problem, file=sys.stderr)
        bad += len(found["problems"])
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
