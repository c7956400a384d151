"""Modules that leave a trace when they are imported, wherever a Python might look for some."""

import sys
from pathlib import Path

NAMES = ("threading", "csv", "json", "random", "logging", "numpy", "torch", "pip", "sitecustomize", "usercustomize")
SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


def plant(folder: Path) -> tuple[Path, dict[str, str]]:
    """Plant them in the folders `cwd`, `tmp` and `path`, and for the user.

    Returns:
        The file that comes into being when one is imported, and the variables that lead there. The trace names the
        place, the module, and the command line.
    """
    trace = folder / "executed"
    program = "import sys; open({!r}, 'a').write(' '.join([{!r}, *sys.orig_argv]) + chr(10))\n"
    for place in ("cwd", "tmp", "path"):
        (folder / place).mkdir()
        for name in NAMES:
            (folder / place / f"{name}.py").write_text(program.format(str(trace), f"{place} {name}"))
    (folder / "user" / SITE).mkdir(parents=True)
    (folder / "user" / SITE / "usercustomize.py").write_text(program.format(str(trace), "usercustomize"))
    variables = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder / "tmp"))
    variables |= {"PYTHONPATH": str(folder / "path"), "PYTHONSTARTUP": str(folder / "path" / "random.py")}
    return trace, {**variables, "PYTHONUSERBASE": str(folder / "user")}
