"""Metrics of several processes: each worker writes to files of its own, whoever asks gets the sum.

The files belong to a worker's number, not to its process: one that takes a killed one's place counts on where
that one stopped, and there are never more files than workers.
"""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The library reads it, when a metric is made and when the files are read."""


def prepare_folder(folder: Path) -> None:
    """For the process that starts the workers, before the first: an empty folder, which workers inherit by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob("*.db"):
        left_over.unlink()
    os.environ[FOLDER_VARIABLE] = str(folder)


def write_as(worker: int | str) -> None:
    """For a worker's process, before its metrics are made. Without a prepared folder they stay in its memory."""
    if os.environ.get(FOLDER_VARIABLE):
        values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]


def forget(worker: int | str) -> None:
    """A worker is gone: what it was doing counts no more, what it has done does. Call before it is replaced."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        mark_process_dead(worker, folder)  # type: ignore[no-untyped-call]


def exposition(registry: CollectorRegistry | None = None) -> bytes:
    """Metrics in Prometheus' text format: of `registry`, else of all workers, from the prepared folder."""
    if registry is None:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, os.environ[FOLDER_VARIABLE])  # type: ignore[no-untyped-call]
    return generate_latest(registry)
