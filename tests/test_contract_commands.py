"""`feast` commands and stores opened from a folder work on the stock plug-ins and on ours."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
import yaml
from click.testing import CliRunner, Result
from contract_world import (
    NOW,
    SIDES,
    STOCK,
    Project,
    Side,
    entity,
    quietly,
    settings,
    source,
    stamps,
    times,
    view,
)
from feast import FeatureStore
from feast.cli.cli import cli
from feast.repo_operations import parse_repo
from feast.types import Int64

DEFINITIONS = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.types import Float32, Int64

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
rows = FileSource(name="rows", path="{folder}/rows.parquet", timestamp_field="event_timestamp")
fields = [Field(name="value", dtype=Float32), Field(name="user_id", dtype=Int64)]
stats = FeatureView(name="stats", entities=[user], schema=fields, source=rows, ttl=timedelta(days=30))
more = FeatureView(name="more", entities=[user], schema=fields, source=rows)
service = FeatureService(name="service", features=[stats])
"""


class Repository:
    """A folder with a feature_store.yaml and definitions, and the commands run in it."""

    def __init__(self, side: Side, folder: Path, redis_url: str) -> None:
        self.side, self.folder = side, folder
        folder.mkdir()
        registry = {"registry": {"registry_type": "file", "path": "data/registry.db", "cache_ttl_seconds": 0}}
        content = settings(side, redis_url) | registry
        (folder / "feature_store.yaml").write_text(yaml.safe_dump(content))
        self.define(DEFINITIONS.format(folder=folder))
        columns = {
            "user_id": [1, 2, 1],
            "value": pa.array([1, 2, 3], pa.float32()),
            "event_timestamp": times(9, 5, 3),
        }
        pq.write_table(pa.table(columns), folder / "rows.parquet")
        self.redis = redis.Redis.from_url(redis_url.replace("/0", f"/{side.database}"))

    def define(self, text: str) -> None:
        """As another process would find it: Feast imports the module once per process."""
        sys.modules.pop("definitions", None)
        (self.folder / "definitions.py").write_text(text)

    def run(self, *words: str) -> str:
        with quietly():
            result: Result = CliRunner().invoke(cli, ["-c", str(self.folder), *words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    def served(self, *ids: int, view_name: str = "stats") -> list[Any]:
        store = FeatureStore(repo_path=str(self.folder))
        rows = [{"user_id": one} for one in ids]
        return store.get_online_features([f"{view_name}:value"], rows).to_dict()["value"]


@pytest.fixture(params=SIDES, ids=str)
def repository(
    request: pytest.FixtureRequest, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Repository:
    monkeypatch.setenv("FEAST_USAGE", "False")
    made = Repository(request.param, tmp_path / "repository", redis_url)
    monkeypatch.chdir(made.folder)
    monkeypatch.syspath_prepend(made.folder)
    return made


def at(hours: float) -> str:
    return (NOW - timedelta(hours=hours)).replace(tzinfo=None).isoformat()


def test_apply_materialize_and_serve(repository: Repository) -> None:
    assert "stats" in repository.run("plan")
    repository.run("apply")
    assert "stats" in repository.run("feature-views", "list")
    assert "service" in repository.run("feature-services", "list")
    assert "user" in repository.run("entities", "list")
    repository.run("materialize", at(24), at(4))
    assert repository.served(1, 2, 3) == [1.0, 2.0, None]
    repository.run("materialize-incremental", at(0))
    assert repository.served(1, 2, 3) == [3.0, 2.0, None]


def test_materialize_takes_views_by_name(repository: Repository) -> None:
    repository.run("apply")
    repository.run("materialize", at(24), at(0), "--views", "more")
    assert repository.served(1, view_name="more") == [3.0]
    assert repository.served(1) == [None]


def test_features_are_asked_for_by_command(repository: Repository) -> None:
    repository.run("apply")
    repository.run("materialize", at(24), at(0))
    said = repository.run("get-online-features", "--entities", "user_id=1", "--features", "stats:value")
    assert json.loads(said[said.index("{") :].replace("'", '"'))["value"] == [3.0]
    frame = pd.DataFrame({"user_id": [1], "event_timestamp": stamps(4)})
    with quietly():
        joined = (
            FeatureStore(repo_path=str(repository.folder))
            .get_historical_features(frame, ["stats:value"])
            .to_df()
        )
    assert joined["value"].tolist() == [1.0]


def test_applying_twice_changes_nothing(repository: Repository) -> None:
    repository.run("apply")
    repository.run("materialize", at(24), at(0))
    repository.run("apply")
    assert repository.served(1, 2) == [3.0, 2.0]


def test_a_view_taken_out_of_the_definitions_takes_its_rows_with_it(repository: Repository) -> None:
    repository.run("apply")
    repository.run("materialize", at(24), at(0))
    text = DEFINITIONS.format(folder=repository.folder)
    repository.define("\n".join(line for line in text.splitlines() if not line.startswith("more")))
    repository.run("apply")
    assert "more" not in repository.run("feature-views", "list")
    assert repository.served(1, 2) == [3.0, 2.0]
    repository.define(text)
    repository.run("apply")
    assert repository.served(1, 2, view_name="more") == [None, None]


def test_teardown_leaves_nothing(repository: Repository) -> None:
    repository.run("apply")
    repository.run("materialize", at(24), at(0))
    assert repository.redis.dbsize() > 0
    repository.run("teardown")
    assert repository.redis.dbsize() == 0


def test_a_plan_lists_no_infrastructure(repository: Repository) -> None:
    repository.run("apply")
    store = FeatureStore(repo_path=str(repository.folder))
    with quietly():
        _, infra_diff, _ = store.plan(parse_repo(repository.folder))
    assert infra_diff.infra_object_diffs == []


@pytest.mark.parametrize("way", ["argument", "working folder"])
def test_a_store_is_opened_from_its_folder(repository: Repository, way: str) -> None:
    repository.run("apply")
    store = FeatureStore(repo_path=str(repository.folder)) if way == "argument" else FeatureStore()
    assert store.config.online_store.type == repository.side.online
    assert store.config.offline_store.type == repository.side.offline
    assert [one.name for one in store.list_feature_services()] == ["service"]
    again = FeatureStore(
        config=type(store.config)(**yaml.safe_load((repository.folder / "feature_store.yaml").read_text()))
    )
    assert again.config.online_store == store.config.online_store


def test_the_configuration_can_be_written_back_and_read(repository: Repository, tmp_path: Path) -> None:
    config = FeatureStore(repo_path=str(repository.folder)).config
    written = config.model_dump(by_alias=True, mode="json", exclude={"repo_path"})
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "feature_store.yaml").write_text(yaml.safe_dump(written))
    again = FeatureStore(repo_path=str(tmp_path / "again")).config
    assert again.online_store == config.online_store
    assert again.offline_store == config.offline_store
    assert again.batch_engine == config.batch_engine


def test_an_unknown_setting_is_refused_by_name(redis_url: str, tmp_path: Path) -> None:
    for side in SIDES:
        with pytest.raises(Exception, match="no_such_setting"):
            Project(side, tmp_path / side.name, redis_url, changes={"online": {"no_such_setting": 1}})


def test_the_two_formats_lie_side_by_side_in_one_database(redis_url: str, tmp_path: Path) -> None:
    address = redis_url.removeprefix("redis://").split("/")[0]
    pair = [
        Project(side, tmp_path / side.name, redis_url, changes={"online": {"connection_string": address}})
        for side in SIDES
    ]
    user = entity("user_id")
    for number, project in enumerate(pair):
        project.apply(user, view("users", [user], source("unused.parquet"), {"age": Int64}))
        project.write_online("users", {"user_id": [1], "age": [number], "event_timestamp": stamps(1)})
    rows = [{"user_id": 1}]
    assert [project.online(["users:age"], rows)["age"] for project in pair] == [[0], [1]]
    pair[0].store.teardown()
    assert pair[1].online(["users:age"], rows)["age"] == [1]
    stock = Project(STOCK, tmp_path / "again", redis_url, changes={"online": {"connection_string": address}})
    stock.apply(user, view("users", [user], source("unused.parquet"), {"age": Int64}))
    stock.write_online("users", {"user_id": [1], "age": [7], "event_timestamp": stamps(1)})
    pair[1].store.teardown()
    assert stock.online(["users:age"], rows)["age"] == [7]
