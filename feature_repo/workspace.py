"""Where everything lies: one folder that holds events, features, models and logs of one running system."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from feature_repo.errors import SettingError

HOME_VARIABLE = "MARQUEE_HOME"
REDIS_VARIABLE = "MARQUEE_REDIS_URL"
FEATURE_REPO = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Workspace:
    """Paths of one workspace. Making one touches no disk; each writer makes its own folder."""

    home: Path

    @classmethod
    def from_environment(cls) -> Workspace:
        """The folder `MARQUEE_HOME` names, else `.marquee` beside `feature_repo/`.

        Raises SettingError where it is no folder and none can be made there.
        """
        named = os.environ.get(HOME_VARIABLE)
        return cls(_usable(named) if named else FEATURE_REPO.parent / ".marquee")

    @property
    def events(self) -> Path:
        return self.home / "events"

    @property
    def features(self) -> Path:
        return self.home / "features"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def serving_log(self) -> Path:
        return self.home / "serving_log"

    @property
    def shadow_log(self) -> Path:
        return self.home / "shadow"

    @property
    def registry(self) -> Path:
        return self.home / "registry.db"

    @property
    def reports(self) -> Path:
        return self.home / "reports"

    def feature_path(self, view: str) -> Path:
        """Folder of one batch view's parquet partitions."""
        return self.features / view


def _usable(named: str) -> Path:
    """The folder, or the place where one can be made."""
    try:
        home = Path(named).expanduser().resolve()
        there = next(place for place in (home, *home.parents) if place.exists())
    except (OSError, RuntimeError) as error:
        raise SettingError(f"{HOME_VARIABLE}={named!r} names no folder ({error}); set it to one") from error
    if not there.is_dir():
        raise SettingError(
            f"{HOME_VARIABLE}={named!r} is no folder: {there} is a file; name a folder, or move the file away"
        )
    if there != home and not os.access(there, os.W_OK | os.X_OK):
        raise SettingError(
            f"{HOME_VARIABLE}={named!r} does not exist and cannot be made: {there} is not writable; name another"
        )
    return home
