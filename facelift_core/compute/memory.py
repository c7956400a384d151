"""Query the size of main memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def memory() -> dict[str, int]:
    """Return the bytes of main memory: "total" and, if known, "available" to new programs.

    Raises:
        OSError: the system does not report it.
    """
    try:
        import psutil  # part of the runtime, not of Blender's own Python
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

    status = (ctypes.c_ulonglong * 8)()  # MEMORYSTATUSEX: 32-bit length and load, then seven 64-bit numbers
    ctypes.cast(status, ctypes.POINTER(ctypes.c_ulong))[0] = ctypes.sizeof(status)
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        raise OSError("Windows does not report the size of main memory")
    return {"total": status[1], "available": status[2]}
