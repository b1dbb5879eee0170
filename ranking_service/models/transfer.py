"""Files of a registry, read and written whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from pyarrow import fs

from feature_repo.errors import BundleError, BundleStoreError
from ranking_service import bundle
from ranking_service.bundle import MANIFEST_FILE


def read_bytes(filesystem: fs.FileSystem, path: str) -> bytes:
    """A file's content. Raises BundleError where it is missing or cannot be read."""
    try:
        with filesystem.open_input_stream(path) as file:
            content: bytes = file.read()
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; publish the bundle again or choose another") from None
    except OSError as error:
        raise BundleStoreError(f"{path} cannot be read: {error}") from error
    return content


def write_whole(filesystem: fs.FileSystem, path: str, content: bytes) -> None:
    """A file that is there whole or not at all. Raises BundleError where it cannot be written.

    An object store shows an object once it is complete; a folder gets it renamed into place from the disk.
    """
    try:
        if isinstance(filesystem, fs.LocalFileSystem):
            _write_local(Path(path), content)
        else:
            with filesystem.open_output_stream(path) as file:
                file.write(content)
    except OSError as error:
        raise BundleStoreError(f"{path} cannot be written: {error}") from error


def copy_bundle(filesystem: fs.FileSystem, source: str, folder: Path) -> Path:
    """The bundle at `source` as `folder`, copied unless it is there already; both times checked.

    Raises BundleError for a bundle that is damaged where it comes from.
    """
    manifest = read_bytes(filesystem, f"{source}/{MANIFEST_FILE}")
    if _is_whole(folder, manifest):
        return folder
    try:
        return _copied(filesystem, source, folder, manifest)
    except OSError as error:
        raise BundleStoreError(f"{source} cannot be copied to {folder}: {error}") from error


def _copied(filesystem: fs.FileSystem, source: str, folder: Path, manifest: bytes) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    try:
        copied = partial / folder.name
        copied.mkdir()
        (copied / MANIFEST_FILE).write_bytes(manifest)
        for name in bundle.files(copied):
            (copied / name).write_bytes(read_bytes(filesystem, f"{source}/{name}"))
        bundle.load(copied)
        return _placed(copied, folder, manifest)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _placed(copied: Path, folder: Path, manifest: bytes) -> Path:
    """Another process may be copying the same bundle: one of them comes first, and both are the same."""
    if folder.exists() and not _is_whole(folder, manifest):
        folder.rename(copied.parent / "damaged")
    try:
        copied.rename(folder)
    except OSError as error:
        if not _is_whole(folder, manifest):
            raise BundleStoreError(f"{folder} cannot be written: {error}") from error
    return folder


def _is_whole(folder: Path, manifest: bytes) -> bool:
    try:
        return (folder / MANIFEST_FILE).read_bytes() == manifest and bundle.load(folder) is not None
    except (OSError, BundleError):
        return False


def _write_local(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(prefix=".", suffix=".partial", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
