"""Where bundles are kept, and which one is to be served: a folder, or a place in an object store.

<registry>/<version>/model.ubj, manifest.json    a bundle; without a manifest there is none
<registry>/promotions/<number>-<key>.json        what was promoted, one file an entry, never changed
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from feature_repo.errors import BundleError, BundleStoreError, MissingInputError
from feature_repo.workspace import Workspace
from ranking_service import bundle
from ranking_service.bundle import MANIFEST_FILE, PROMOTIONS, Bundle
from ranking_service.models.promotions import Action, Promotion, before
from ranking_service.models.transfer import copy_bundle, read_bytes, write_whole

MODELS_VARIABLE = "MARQUEE_MODELS"
FileState = tuple[tuple[str, int, int], ...]
"""(name, bytes, changed at in nanoseconds) of a bundle's files."""


@dataclass(frozen=True)
class Registry:
    """A registry. A folder's bundles are used where they lie, others are copied to `cache` first."""

    where: str
    """As it was named."""
    filesystem: fs.FileSystem
    root: str
    cache: Path | None = None
    """None: `root` is a folder of this machine."""
    _known: dict[str, Promotion] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, where: str | Path, *, cache: Path | None = None) -> Registry:
        """The registry in a folder, or at a URI such as s3://bucket/models or file:///mnt/models.

        Copies of a URI's bundles are kept in a part of `cache` (the system's temporary folder when None).
        Raises BundleError for a URI that names no file system. Touches nothing.
        """
        if isinstance(where, Path) or "://" not in where:
            root = Path(where).expanduser().absolute()
            return cls(str(where), fs.LocalFileSystem(), root.as_posix())
        try:
            filesystem, root_name = fs.FileSystem.from_uri(where)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise BundleError(
                f"no model registry at {where}: {error}; name a folder, or a URI such as s3://bucket/models"
            ) from error
        part = hashlib.sha256(where.encode()).hexdigest()[:16]
        folder = cache or Path(tempfile.gettempdir()) / f"marquee-models-{os.getuid()}"
        return cls(where, filesystem, root_name.rstrip("/"), folder / part)

    def versions(self) -> list[str]:
        """Published versions, oldest name first."""
        found = self._listed("")
        names = [entry.base_name for entry in found if entry.type == fs.FileType.Directory]
        names = sorted(name for name in names if bundle.is_version(name))
        manifests = self._info([f"{name}/{MANIFEST_FILE}" for name in names])
        return [name for name, info in zip(names, manifests, strict=True) if info.type == fs.FileType.File]

    def folder(self, version: str) -> Path:
        """The version's bundle on this machine: whole and undamaged if it had to be copied here.

        Raises BundleError where there is no such version, or its copy does not fit its hashes.
        """
        if version not in self.versions():
            raise BundleError(f"{self.where} has no version {version}; there are {self.listed()}")
        if self.cache is None:
            return Path(self.root) / version
        return copy_bundle(self.filesystem, f"{self.root}/{version}", self.cache / version)

    def state(self, version: str) -> FileState:
        """Changes when the version's files do; empty where there are none."""
        files = self._listed(version)
        return tuple(sorted((file.base_name, file.size or 0, file.mtime_ns or 0) for file in files))

    def chosen(self, named: str | None) -> Path:
        """The bundle a person names: a version, else a folder; without a name, or "promoted", the `latest`."""
        if named is None or named == bundle.PROMOTED:
            return self.latest()
        if named in self.versions():
            return self.folder(named)
        if not Path(named).is_dir():
            raise BundleError(
                f"no bundle {named}: no folder, and no version in {self.where}; there are {self.listed()}"
            )
        return Path(named)

    def latest(self) -> Path:
        """The promoted version, else the newest by name."""
        return self.folder(self.served())

    def served(self) -> str:
        """Name of the `latest`."""
        promoted = self.promoted()
        names = self.versions()
        if promoted is not None and promoted.version not in names:
            raise BundleError(
                f"{self.where}: version {promoted.version} was promoted, but is not there; promote another"
            )
        if not names:
            raise MissingInputError(f"no model bundle in {self.where}; make one with `marquee model train`")
        return promoted.version if promoted is not None else names[-1]

    def add(self, folder: Path) -> None:
        """Copy a bundle of this machine here, its manifest last. Raises BundleError for a version that exists."""
        version = bundle.load(folder).version
        if version in self.versions():
            raise BundleError(f"{self.where} has version {version}; a published version never changes")
        for name in (*bundle.files(folder), MANIFEST_FILE):
            write_whole(self.filesystem, f"{self.root}/{version}/{name}", (folder / name).read_bytes())

    def promotions(self) -> list[Promotion]:
        """What was promoted, oldest first. Raises BundleError for an entry that is damaged."""
        files = self._listed(PROMOTIONS)
        names = sorted(file.base_name for file in files if file.base_name.endswith(".json"))
        for name in names:
            if name not in self._known:
                path = f"{self.root}/{PROMOTIONS}/{name}"
                self._known[name] = Promotion.from_json(read_bytes(self.filesystem, path), path)
        return [self._known[name] for name in names]

    def promoted(self) -> Promotion | None:
        """What is in force."""
        history = self.promotions()
        return history[-1] if history else None

    def promote(self, promoted: Bundle, *, at: datetime, by: str, note: str = "") -> Promotion:
        """Make `promoted`, a bundle of this registry, the one that is served; the entry that is in force then.

        That is another one where somebody promoted at the same moment and came out last.
        """
        return self._record(Action.PROMOTE, promoted, at=at, by=by, note=note)

    def rollback(self, *, at: datetime, by: str, note: str = "") -> Promotion:
        """Go back to what was promoted before; again and again down to the first.

        Raises BundleError where there is nothing before, or that is damaged or another bundle than it was.
        """
        target = before(self.promotions())
        earlier = bundle.load(self.folder(target.version))
        check_meant(earlier.manifest, target)
        return self._record(Action.ROLLBACK, earlier, at=at, by=by, note=note)

    def listed(self) -> str:
        """The versions, for a message."""
        return ", ".join(self.versions()) or "none"

    def _record(self, action: Action, meant: Bundle, *, at: datetime, by: str, note: str) -> Promotion:
        last = self.promoted()
        entry = Promotion(
            number=last.number + 1 if last else 1,
            action=action,
            version=meant.version,
            sha256=meant.manifest["sha256"],
            at=at,
            by=by,
            note=note,
        )
        write_whole(self.filesystem, f"{self.root}/{PROMOTIONS}/{entry.name}", entry.to_json())
        return self.promotions()[-1]

    def _listed(self, folder: str) -> list[fs.FileInfo]:
        place = f"{self.root}/{folder}".rstrip("/")
        try:
            found: list[fs.FileInfo] = self.filesystem.get_file_info(
                fs.FileSelector(place, allow_not_found=True)
            )
        except FileNotFoundError:  # it was made between pyarrow's two looks
            return []
        except OSError as error:
            raise BundleStoreError(f"{self.where} cannot be read: {error}") from error
        return found

    def _info(self, names: list[str]) -> list[fs.FileInfo]:
        try:
            found: list[fs.FileInfo] = self.filesystem.get_file_info(
                [f"{self.root}/{name}" for name in names]
            )
        except OSError as error:
            raise BundleStoreError(f"{self.where} cannot be read: {error}") from error
        return found


def registry_of(workspace: Workspace) -> Registry:
    """The registry that `MARQUEE_MODELS` names (a folder or a URI), else the workspace's own folder."""
    named = os.environ.get(MODELS_VARIABLE)
    return Registry.open(named or workspace.models, cache=workspace.home / "models_cache")


def check_meant(manifest: Mapping[str, object], promotion: Promotion) -> None:
    """Raises BundleError for another bundle of the same name than the one that was promoted."""
    if manifest["sha256"] != promotion.sha256:
        raise BundleError(
            f"{promotion.version} is not the bundle that was promoted: its manifest has the hash "
            f"{str(manifest['sha256'])[:12]}, promoted was {promotion.sha256[:12]}; promote it again if it is meant"
        )
