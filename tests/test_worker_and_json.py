"""What comes from outside is bounded before it is used, and no line makes the worker deaf or lets it outlive us."""

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from facelift_core import bounded_json
from facelift_core.processes import client
from facelift_core.processes.client import LINE_MAX, Worker
from facelift_core.processes.launch import FOLDER
from facelift_core.processes.protocol import Failed, Log

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 40 + b"]" * 40, "nested too deeply"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested too deeply"),
        (b'"\xff"', "not UTF-8"),
        (b"NaN", "not a number"),
        (b"[1, -Infinity]", "not a number"),
        (b"1" + b"0" * 5000, "limit"),
        (b" " * (bounded_json.SIZE_MAX + 1), "longer than 1,048,576 bytes"),
        (b"", "Expecting value"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_bad_documents_are_refused(content, words):
    with pytest.raises(ValueError, match=words) as error:
        bounded_json.parse(content)
    assert "\n" not in str(error.value)


def test_files_that_never_end_are_not_read(tmp_path):
    with open(tmp_path / "sparse.json", "wb") as file:
        file.truncate(40 << 30)
    with pytest.raises(ValueError, match="longer than"):
        bounded_json.read(tmp_path / "sparse.json")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.json")
        with pytest.raises(ValueError, match="not a file"):
            bounded_json.read(tmp_path / "pipe.json")
    (tmp_path / "good.json").write_bytes(b'\xef\xbb\xbf{"a": ["\xc3\xa4"]}')
    assert bounded_json.read(tmp_path / "good.json") == {"a": ["ä"]}


@pytest.mark.parametrize("package", ["facelift_core", "facelift_blender"])
def test_there_is_one_reader(package):
    for path in (ROOT / package).rglob("*.py"):
        if path.name != "bounded_json.py" and "training" not in path.parts:
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            calls = [ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)]
            assert not {"json.load", "json.loads"} & set(calls), path


def answers(worker: Worker, count: int) -> list:
    found = []
    deadline = time.monotonic() + 60
    while len(found) < count and time.monotonic() < deadline:
        if (message := worker.receive(0.1)) is not None and isinstance(message[1], Log | Failed):
            found.append(message)
    return found


def test_no_line_makes_the_worker_deaf():
    worker = Worker(Path(sys.executable))
    lines = [b"[" * 50_000, b"[" * 100_000, b'"\xff\xfe"', b"\0", b"null", b"x" * 3 * LINE_MAX, b"NaN"]
    try:
        for line in lines:
            worker._process.stdin.write(line + b"\n")
        worker.request("nonsense", "1", {})
        worker.request("runtime", "2", {"do": "remove", "folder": "a\0b"})
        found = answers(worker, len(lines) + 2)
        assert [type(event) for _, event in found] == [Log] * len(lines) + [Failed] * 2
        assert all("was not understood" in event.line and "\n" not in event.line for _, event in found[:-2])
        assert "longer than 65,536 bytes" in found[5][1].line
        assert [job for job, _ in found[-2:]] == ["1", "2"] and "no path can have" in found[-1][1].message
    finally:
        worker.stop(10.0)


def test_a_flood_of_output_is_bounded(monkeypatch):
    """A worker's Python that prints without end is ended, and little of it is held meanwhile."""
    program = "import sys\nwhile True: print('x' * 60000, flush=True); print('y' * 60000, file=sys.stderr, flush=True)"
    monkeypatch.setattr(client, "command", lambda *_: [sys.executable, "-I", "-c", program])
    worker = Worker(Path(sys.executable))
    with pytest.raises(client.WorkerEnded, match="was not understood"):
        while True:
            worker.receive(5.0)
    assert worker._lines.qsize() <= client.FOREIGN_LINES_MAX and len(worker._words) <= client.LAST_WORDS


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, start_new_session=True)
child.stdin.write(b'{"do": "runtime", "job": "1", "request": {"do": "remove"}}\\n'); child.stdin.flush()
print(child.pid, flush=True)
time.sleep(100)
"""
STUCK = f"""
import sys, threading, time
sys.path.insert(0, {str(FOLDER.parent)!r})
from facelift_core.jobs import handlers, worker
handlers.run = lambda *_: time.sleep(100)
"""
DEAF = "def deaf(self, stream): time.sleep(100)\nworker._Inbox.read = deaf\n"
DYING = "def dying(self, line): raise RuntimeError\nworker._Inbox._take = dying\n"
FINALIZING = "import atexit; atexit.register(time.sleep, 100)\nhandlers.run = lambda *_: handlers.Stopped()\n"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
@pytest.mark.parametrize(
    "how", [STUCK, STUCK + DEAF, STUCK + DYING, STUCK + FINALIZING], ids="stuck deaf dying finalizing".split()
)
def test_a_worker_ends_soon_after_its_parent(how):
    with subprocess.Popen([sys.executable, "-c", PARENT, how + "worker.main()"], stdout=subprocess.PIPE) as parent:
        child = Path("/proc") / parent.stdout.readline().decode().strip()
        time.sleep(2.0)
        assert child.exists()
        parent.kill()
    began = time.monotonic()
    while child.exists() and ") Z" not in (child / "stat").read_text():
        assert time.monotonic() - began < 12, "it outlives its parent"
        time.sleep(0.05)
