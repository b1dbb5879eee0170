"""A model bundle: the booster and what it expects, in one folder that is whole or not there.

models/<version>/model.ubj        the XGBoost model
models/<version>/baseline.npz     how its inputs were distributed, where the trainer counted them
models/<version>/manifest.json    the contract, the trainer's entries, a hash of every file and of itself

Which of them is served, and where they are kept, is `ranking_service.models.registry`'s.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xgboost

from feature_repo.errors import BundleError
from ranking_service.contract import Contract

MODEL_FILE = "model.ubj"
MANIFEST_FILE = "manifest.json"
PROMOTED, PROMOTIONS = "promoted", "promotions"
"""Names with a meaning beside the bundles: no version bears them."""
FORMAT = 1
OWN_KEYS = frozenset({"format", "version", "contract", "files", "sha256"})
"""Manifest keys the bundle itself writes; every other key is the trainer's."""

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Bundle:
    """A loaded and verified bundle."""

    version: str
    path: Path
    contract: Contract
    booster: xgboost.Booster
    manifest: Mapping[str, Any]
    """Everything in manifest.json: beside the bundle's own keys what the trainer gave `publish`."""


def publish(
    models: Path,
    *,
    version: str,
    booster: xgboost.Booster,
    contract: Contract,
    manifest: Mapping[str, Any],
    attachments: Mapping[str, bytes] | None = None,
) -> Path:
    """Write the bundle beside `models/<version>` and rename it into place; returns that folder.

    `manifest` holds the trainer's entries (training window, metrics) as JSON knows them, so without NaN;
    `attachments` are further files by name. Raises BundleError for a version that exists or an unusable name, and
    for a booster that does not fit the contract.
    """
    _check_publishable(models, version=version, manifest=manifest)
    _check_columns(booster, contract, f"bundle {version}")
    models.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{version}-", dir=models))
    try:
        model = bytes(booster.save_raw("ubj"))
        contents = {MODEL_FILE: model, **(attachments or {})}
        for name, written in contents.items():
            _write(partial / name, written)
        content = {
            **manifest,
            "format": FORMAT,
            "version": version,
            "contract": contract.to_json(),
            "files": {name: _sha256(written) for name, written in contents.items()},
        }
        content["sha256"] = _sha256(_canonical(content))
        _write(partial / MANIFEST_FILE, json.dumps(content, indent=1, allow_nan=False).encode())
        partial.chmod(0o755)
        return _move_into_place(partial, models / version)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load(path: Path) -> Bundle:
    """Read and verify a bundle. Raises BundleError naming the file and what is wrong with it."""
    manifest = _read_manifest(path / MANIFEST_FILE)
    version = manifest["version"]
    if path.resolve().name != version:
        raise BundleError(f"{path} holds version {version}; a bundle's folder bears its name, rename it back")
    contents = {name: _read(path / name) for name in manifest["files"]}
    for name, content in contents.items():
        _check_hash(path / name, content, expected=manifest["files"][name])
    try:
        booster = xgboost.Booster(model_file=bytearray(contents[MODEL_FILE]))
    except xgboost.core.XGBoostError as error:
        raise BundleError(
            f"{path / MODEL_FILE}: XGBoost {xgboost.__version__} cannot read it: {error}"
        ) from error
    try:
        contract = Contract.from_json(manifest["contract"])
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{path / MANIFEST_FILE} holds no contract this version reads: {error!r}"
        ) from error
    _check_columns(booster, contract, str(path))
    return Bundle(version, path, contract, booster, manifest)


def files(folder: Path) -> tuple[str, ...]:
    """The files that the manifest of the bundle in `folder` vouches for. Raises BundleError for a damaged one."""
    return tuple(_read_manifest(folder / MANIFEST_FILE)["files"])


def is_version(name: str) -> bool:
    """Whether a bundle may bear the name."""
    return bool(_VERSION.fullmatch(name)) and name not in (PROMOTED, PROMOTIONS)


def _check_publishable(models: Path, *, version: str, manifest: Mapping[str, Any]) -> None:
    if not is_version(version):
        raise BundleError(
            f"bundle version {version!r}: use letters, digits, '.', '_' and '-', not first a sign, and neither "
            f"{PROMOTED!r} nor {PROMOTIONS!r}"
        )
    if (models / version).exists():
        raise BundleError(f"{models / version} exists; a published version never changes, choose another")
    taken = OWN_KEYS & manifest.keys()
    if taken:
        raise BundleError(f"manifest keys {sorted(taken)} are the bundle's own; choose other names")
    try:
        _canonical(manifest)
    except (TypeError, ValueError) as error:
        raise BundleError(f"bundle {version}: the manifest's entries are not plain JSON: {error}") from error


def _check_columns(booster: xgboost.Booster, contract: Contract, where: str) -> None:
    if booster.num_features() != len(contract.features):
        raise BundleError(
            f"{where}: the model has {booster.num_features()} columns, its contract {len(contract.features)} "
            "features; retrain with `marquee model train`"
        )
    named = tuple(booster.feature_names or contract.feature_names)
    for index, (model_name, contract_name) in enumerate(zip(named, contract.feature_names, strict=True)):
        if model_name != contract_name:
            raise BundleError(
                f"{where}: column {index} is {model_name} in the model but {contract_name} in the contract; "
                "retrain with `marquee model train`"
            )


def _move_into_place(partial: Path, final: Path) -> Path:
    """Renaming onto a published version fails: whoever came first wins."""
    try:
        partial.rename(final)
    except OSError as error:
        raise BundleError(f"{final} exists; a published version never changes, choose another") from error
    return final


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(_read(path))
    except ValueError as error:
        raise BundleError(f"{path} is not whole JSON ({error}); publish the bundle again") from error
    if not isinstance(manifest, dict) or not manifest.keys() >= OWN_KEYS:
        raise BundleError(f"{path} is not a bundle's manifest: it lacks one of {sorted(OWN_KEYS)}")
    hashed = {key: value for key, value in manifest.items() if key != "sha256"}
    _check_hash(path, _canonical(hashed), expected=manifest["sha256"])
    if manifest["format"] != FORMAT:
        raise BundleError(f"{path} has format {manifest['format']}; this version reads format {FORMAT}")
    named = manifest["files"]
    if MODEL_FILE not in named or not all(_VERSION.fullmatch(name) for name in named):
        raise BundleError(f"{path} names the files {', '.join(named)}; expected {MODEL_FILE} and plain names")
    return manifest


def _check_hash(path: Path, content: bytes, *, expected: str) -> None:
    found = _sha256(content)
    if found != expected:
        raise BundleError(
            f"{path} is damaged: {len(content)} bytes with hash {found[:12]}, its manifest says "
            f"{str(expected)[:12]}; publish the bundle again"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; publish the bundle again or choose another") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def _write(path: Path, content: bytes) -> None:
    """On the disk, not only in its cache, before a rename makes it visible."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _canonical(content: Mapping[str, Any]) -> bytes:
    """One spelling per content. Raises ValueError for NaN, which JSON does not know."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
