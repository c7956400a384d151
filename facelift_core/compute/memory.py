"""How much main memory this machine has."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def memory() -> dict[str, int]:
    """Bytes of main memory: "total", and "available" for new programs where the system tells.

    Raises:
        OSError: the system does not tell.
    """
    try:
        import psutil  # the runtime has it, Blender's own Python does not
    except ImportError:
        return _memory_of_system()
    found = psutil.virtual_memory()
    return {"total": found.total, "available": found.available}


def _memory_of_system() -> dict[str, int]:
    if sys.platform == "win32":
        return _memory_windows()
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return {"total": total}
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return {"total": total, "available": int(fields["MemAvailable"].split()[0]) * 1024}


def _memory_windows() -> dict[str, int]:
    import ctypes

    status = (ctypes.c_ulonglong * 8)()  # two 32-bit numbers (length, load in percent), then seven of 64 bits
    ctypes.cast(status, ctypes.POINTER(ctypes.c_ulong))[0] = ctypes.sizeof(status)
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        raise OSError("Windows does not tell how much memory there is")
    return {"total": status[1], "available": status[2]}
