"""A wall clock that jumps for one process only: a small library, preloaded, adds seconds to what the system says."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .scenario import NotPossibleHere

SOURCE = Path(__file__).with_name("clock.c")


@dataclass(frozen=True)
class MovableClock:
    """For processes started with `environment`."""

    library: Path
    offset_file: Path

    @classmethod
    def compile(cls, folder: Path) -> MovableClock:
        """Raises NotPossibleHere without a C compiler, or where the library cannot be preloaded."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise NotPossibleHere("a clock of one's own needs a C compiler; there is none on PATH")
        folder.mkdir(parents=True, exist_ok=True)
        clock = cls(folder / "clock.so", folder / "clock-offset")
        words = [compiler, "-shared", "-fPIC", "-O1", "-o", str(clock.library), str(SOURCE), "-ldl"]
        built = subprocess.run(words, capture_output=True, text=True, check=False)
        if built.returncode:
            raise NotPossibleHere(f"the clock's library does not compile: {built.stderr[-500:]}")
        clock.offset_file.write_bytes(struct.pack("d", 0.0))
        return clock

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "CHAOS_CLOCK_FILE": str(self.offset_file)}

    def jump_to(self, seconds: float) -> None:
        """So far from the true time."""
        with self.offset_file.open("r+b") as file:
            file.write(struct.pack("d", seconds))
