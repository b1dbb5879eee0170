"""Generate the checked-in gRPC code: `python -m ranking_service.proto.generate [--check]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from feature_repo.errors import MarqueeError

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
PROTO = "ranking_service/proto/ranking.proto"
OUTPUTS = ("ranking_pb2.py", "ranking_pb2.pyi", "ranking_pb2_grpc.py")


def generate(target: Path) -> None:
    """Write the generated modules below `target`, in the proto's package path."""
    from grpc_tools import protoc  # type: ignore[import-untyped]

    arguments = [f"--{kind}={target}" for kind in ("python_out", "grpc_python_out", "pyi_out")]
    well_known = Path(protoc.__file__).parent / "_proto"
    if protoc.main(["protoc", f"-I{ROOT}", f"-I{well_known}", *arguments, str(ROOT / PROTO)]):
        raise MarqueeError(f"{PROTO} does not compile; see the messages above")


def stale_outputs() -> list[str]:
    """Checked-in modules that differ from what the proto generates."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = Path(folder) / Path(PROTO).parent
        return [name for name in OUTPUTS if _text(fresh / name) != _text(FOLDER / name)]


def _text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def main() -> int:
    """Exit code 1 when `--check` finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare with what is checked in")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    stale = stale_outputs()
    if stale:
        print(f"{', '.join(stale)} differ from {PROTO}; run `python -m ranking_service.proto.generate`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
