"""Feast's own HTTP feature server answers alike on the stock plug-ins and on ours."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from contract_world import END, NOW, SIDES, START, Project, entity, quietly, times, view
from feast import FeatureService, PushSource, StreamFeatureView
from feast.feature_server import get_app
from feast.types import Int32, String

USER = entity("user_id")


def ask_server(project: Project, *requests: tuple[str, dict[str, Any]]) -> list[Any]:
    """The answers to requests posted one after another to one server."""

    async def run() -> list[Any]:
        app = get_app(project.store)
        async with app.router.lifespan_context(app):
            return [await _post(app, path, body) for path, body in requests]

    with quietly():
        return asyncio.run(run())


async def _post(app: Any, path: str, body: dict[str, Any]) -> Any:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": [(b"content-type", b"application/json")], "http_version": "1.1", "scheme": "http"}
    await app({**scope, "client": ("test", 1), "server": ("test", 80), "root_path": ""}, receive, send)
    assert sent[0]["status"] == 200, sent
    return json.loads(b"".join(message.get("body", b"") for message in sent[1:]) or b"null")


@pytest.fixture
def pair(redis_url: str, tmp_path: Path) -> list[Project]:
    return [filled(Project(side, tmp_path / side.name, redis_url)) for side in SIDES]


def filled(project: Project) -> Project:
    columns = {"user_id": [1, 2], "age": pa.array([30, 40], pa.int32()), "name": ["a", None]}
    origin = project.write("users", columns | {"event_timestamp": times(5, 4)})
    pushed = PushSource(name="pushed", batch_source=origin)
    users = view("users", [USER], pushed, {"age": Int32, "name": String}, kind=StreamFeatureView)
    project.apply(USER, users, FeatureService(name="service", features=[users]))
    return project


def row(**values: Any) -> dict[str, list[Any]]:
    return {name: [value] for name, value in values.items()} | {"event_timestamp": [NOW.isoformat()]}


def test_the_server_materializes_takes_pushes_and_writes_and_answers(pair: list[Project]) -> None:
    asked = {"features": ["users:age", "users:name"], "entities": {"user_id": [2, 1, 2, 9, 5]}}
    of_service = {"feature_service": "service", "entities": {"user_id": [1]}, "full_feature_names": True}
    requests = [
        ("/materialize", {"start_ts": START.isoformat(), "end_ts": END.isoformat()}),
        ("/get-online-features", asked),
        ("/push", {"push_source_name": "pushed", "df": row(user_id=1, age=77, name="z"), "to": "online"}),
        ("/write-to-online-store", {"feature_view_name": "users", "df": row(user_id=5, age=78, name="y")}),
        ("/get-online-features", asked),
        ("/get-online-features", of_service),
    ]
    stock, ours = (ask_server(project, *requests) for project in pair)
    assert _values(ours[1]) == {
        "user_id": [2, 1, 2, 9, 5],
        "age": [40, 30, 40, None, None],
        "name": [None, "a", None, None, None],
    }
    assert _values(ours[4])["age"] == [40, 77, 40, None, 78]
    assert _values(ours[5]) == {"user_id": [1], "users__age": [77], "users__name": ["z"]}
    for number in (1, 4, 5):
        assert _values(ours[number]) == _values(stock[number])
        assert list(ours[number]) == list(stock[number])
        assert ours[number]["metadata"] == stock[number]["metadata"]


def _values(answer: dict[str, Any]) -> dict[str, list[Any]]:
    names = answer["metadata"]["feature_names"]
    return {name: column["values"] for name, column in zip(names, answer["results"], strict=True)}
