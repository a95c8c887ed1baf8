"""How much memory this process could still take."""

from __future__ import annotations

from pathlib import Path

_SYSTEM, _CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def free_bytes() -> int | None:
    """Return what the system and a container's limit leave; None where neither says so."""
    left = [one for one in (_of_system(), _of_container()) if one is not None]
    return min(left, default=None)


def _of_system() -> int | None:
    try:
        lines = _SYSTEM.read_text(encoding="utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None


def _of_container() -> int | None:
    try:
        most, taken = ((_CONTAINER / name).read_text() for name in ("memory.max", "memory.current"))
        return max(int(most) - int(taken), 0)
    except (OSError, ValueError):  # there is none, or it is without a limit
        return None
