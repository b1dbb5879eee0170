"""Where everything lies: one folder that holds events, features, models and logs of one running system."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "MARQUEE_HOME"
REDIS_VARIABLE = "MARQUEE_REDIS_URL"
FEATURE_REPO = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Workspace:
    """Paths of one workspace. Making one touches no disk; each writer makes its own folder."""

    home: Path

    @classmethod
    def from_environment(cls) -> Workspace:
        """The folder `MARQUEE_HOME` names, else `.marquee` beside `feature_repo/`."""
        named = os.environ.get(HOME_VARIABLE)
        return cls(Path(named).expanduser().resolve() if named else FEATURE_REPO.parent / ".marquee")

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
    def registry(self) -> Path:
        return self.home / "registry.db"

    @property
    def reports(self) -> Path:
        return self.home / "reports"

    def feature_path(self, view: str) -> Path:
        """Folder of one batch view's parquet partitions."""
        return self.features / view
