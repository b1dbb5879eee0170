"""Processor time of other processes, where /proc tells it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
USER_TICKS, SYSTEM_TICKS, PARENT = 11, 12, 1
"""Places in /proc/<pid>/stat, counted after the command's name."""


def cpu_seconds(process_ids: Iterable[int]) -> float:
    """What the processes and all their descendants have used so far; 0 where nothing tells."""
    of_parent: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for folder in PROC.glob("[0-9]*"):
        fields = _stat(folder)
        if fields:
            of_parent.setdefault(int(fields[PARENT]), []).append(int(folder.name))
            used[int(folder.name)] = (int(fields[USER_TICKS]) + int(fields[SYSTEM_TICKS])) / TICKS
    waiting, total = list(process_ids), 0.0
    while waiting:
        process_id = waiting.pop()
        total += used.get(process_id, 0.0)
        waiting += of_parent.get(process_id, [])
    return total


def _stat(folder: Path) -> list[str]:
    """Empty for a process that has ended meanwhile."""
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
