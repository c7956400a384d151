"""Query the size of main memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_UNLIMITED = 1 << 60
"""Limits of version 1 control groups are never absent, but as large as this."""


def memory() -> dict[str, int]:
    """Return the bytes of main memory: "total" and, if known, "available" to this process.

    Limits of control groups (containers, batch systems) and of ``ulimit -v`` count.

    Raises:
        OSError: the system does not report it.
    """
    try:
        import psutil  # part of the runtime, not of Blender's own Python
    except ImportError:
        found = _memory_of_system()
    else:
        found = {"total": psutil.virtual_memory().total, "available": psutil.virtual_memory().available}
    if sys.platform == "linux":
        for limit, used in (*group_limits(), *_limit_of_process()):
            found["total"] = min(found["total"], limit)
            found["available"] = min(found.get("available", limit), max(0, limit - used))
    return found


def group_limits(root: Path = Path("/")) -> list[tuple[int, int]]:
    """Return limit and use in bytes of each control group of this process that limits memory, on Linux.

    Args:
        root: folder with ``proc`` and ``sys``.
    """
    groups = root / "sys/fs/cgroup"
    limits = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        hierarchy, controllers, path = [*line.split(":", 2), "", ""][:3]
        if hierarchy == "0" and not controllers:
            folder, names = groups, ("memory.max", "memory.current", "inactive_file ")
        elif "memory" in controllers.split(","):
            folder = groups / "memory"
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "
        else:
            continue
        inner = folder / path.lstrip("/")
        # In a container, the path may be that of the host, which is not to be seen here.
        for group in {folder, inner, *(parent for parent in inner.parents if parent.is_relative_to(folder))}:
            limit, used = (_text(group / name).strip() for name in names[:2])
            if limit.isdigit() and int(limit) < _UNLIMITED and used.isdigit():
                lines = _text(group / "memory.stat").splitlines()
                cached = next((line.split()[1] for line in lines if line.startswith(names[2])), "0")
                limits.append((int(limit), int(used) - int(cached)))
    return limits


def _limit_of_process() -> list[tuple[int, int]]:
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    pages = _text(Path("/proc/self/statm")).split()
    if limit == resource.RLIM_INFINITY or not pages:
        return []
    return [(limit, int(pages[0]) * os.sysconf("SC_PAGE_SIZE"))]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""


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
