"""A few of the cases of ``make fuzz`` for every parser."""

import json
import os
import subprocess
import sys
from pathlib import Path

import fuzz
import pytest

HERE = Path(__file__).parent


def in_one_process(program: str, *arguments: object) -> list[dict]:
    """Run a program in another process and return the JSON of its last line."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parent)))}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform == "win32", reason="measures memory as POSIX does")
def test_damaged_inputs_give_one_sentence(tmp_path):
    """All parsers in one process: its imports take longer than the cases."""
    program = """
import fuzz, json, pathlib, sys
print(json.dumps([fuzz.fuzz(name, 60, pathlib.Path(sys.argv[1])) for name in fuzz.NAMES]))
"""
    found = in_one_process(program, tmp_path / "found")
    assert [each["parser"] for each in found] == list(fuzz.NAMES)
    assert not [problem for each in found for problem in each["problems"]]
    assert sum(each["refused"] for each in found) > 100


def test_the_fuzzer_finds_what_is_there(tmp_path):
    """A parser that fails, one that is slow, and one that takes memory are found."""
    program = """
import fuzz, fuzz_parsers, json, pathlib, sys, time
fuzz.SECONDS = 0.2
def spin(content, case):
    end = time.process_time() + 0.3
    while case > 1 and time.process_time() < end: pass
def fail(content, case): {}[case] if case == 2 else None
bad = {"raises": fail, "slow": spin,
       "large": lambda content, case: bytearray(400 << 20) if case > 1 else 0}
for name, read in bad.items():
    fuzz_parsers.PARSERS[name] = lambda folder, read=read: fuzz_parsers.Parser([b"abc"], read)
print(json.dumps([fuzz.fuzz(name, 3, pathlib.Path(sys.argv[1])) for name in bad]))
"""
    raises, slow, large = in_one_process(program, tmp_path)
    assert raises["exceptions"] == 1 and "KeyError" in raises["problems"][0]
    assert slow["slow"] == 1 and slow["problems"]
    assert any(problem.startswith("large: ") for problem in large["problems"]), large["problems"]
