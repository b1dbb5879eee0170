"""What Feast's API on the ranking server costs beside Feast's own ways to read: `python tests/bench_feast_api.py`.

100 entities x 50 FLOAT features on one machine, every way in turn in the same run; medians.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import numpy as np
import xgboost
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.protos.feast.serving import ServingService_pb2 as serving
from feast.protos.feast.serving.ServingService_pb2_grpc import ServingServiceStub
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.types import Float32, String
from feast.value_type import ValueType

from materialization.private_redis import private_redis
from ranking_service import contract as contracts
from ranking_service.bundle import publish
from ranking_service.server.server import RankingServer
from ranking_service.settings import ServiceSettings

ENTITIES, FEATURES, ROUNDS = 100, 50, 40
IDS = [f"item {number}" for number in range(ENTITIES)]
NAMES = [f"x{number}" for number in range(FEATURES)]
REFERENCES = [f"items:{name}" for name in NAMES]
STORES = {"packed": "materialization.data_plane.online_store.PackedRedisOnlineStore", "stock": "redis"}


def feast_store(folder: Path, place: str, kind: str) -> FeatureStore:
    """With the rows written."""
    (folder / kind).mkdir()
    config = {
        "project": kind,
        "provider": "local",
        "registry": str(folder / kind / "registry.db"),
        "online_store": {"type": STORES[kind], "connection_string": place},
        "entity_key_serialization_version": 3,
    }
    (folder / kind / "feature_store.yaml").write_text(json.dumps(config))
    store = FeatureStore(config=RepoConfig(**config, repo_path=folder / kind))
    entity = Entity(name="item_id", join_keys=["item_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="items",
        entities=[entity],
        schema=[Field(name="item_id", dtype=String), *(Field(name=name, dtype=Float32) for name in NAMES)],
        source=FileSource(path="unused.parquet", timestamp_field="event_timestamp"),
        ttl=timedelta(days=1),
    )
    store.apply([entity, view])
    random = np.random.default_rng(0)
    rows = [
        (
            EntityKey(join_keys=["item_id"], entity_values=[Value(string_val=one)]),
            {name: Value(float_val=random.random()) for name in NAMES},
            datetime.now(UTC),
            None,
        )
        for one in IDS
    ]
    store._get_provider().online_write_batch(store.config, view, rows, None)
    return store


def bundle(folder: Path) -> Path:
    """A model that reads the packed view."""
    fields = tuple(contracts.Field(name, "FLOAT", 0.0) for name in NAMES)
    made = contracts.Contract(
        "packed",
        "bench",
        (contracts.ViewPlan("items", ("item_id",), fields, 86_400.0, ""),),
        (),
        (),
        (contracts.ModelFeature(fields[0], "items", "."),),
    )
    data = xgboost.DMatrix(np.zeros((4, 1), np.float32), label=[0, 1, 0, 1], feature_names=["x0"])
    booster = xgboost.train({"objective": "binary:logistic"}, data, 1)
    publish(folder / "models", version="v1", booster=booster, contract=made, manifest={})
    return folder / "models" / "v1"


def feature_server(folder: Path, kind: str) -> tuple[subprocess.Popen[bytes], Callable[[], Any]]:
    """Feast's Python feature server, and a call of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "feast.cli.cli", "-c", str(folder / kind), "serve", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    body = json.dumps({"features": REFERENCES, "entities": {"item_id": IDS}}).encode()
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/get-online-features", body, {"Content-Type": "application/json"}
    )

    def call() -> Any:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)

    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            call()
            return process, call
        except OSError:
            time.sleep(0.5)
    process.kill()
    raise TimeoutError("Feast's feature server did not start")


def main() -> None:
    with tempfile.TemporaryDirectory() as name, private_redis() as redis:
        folder = Path(name)
        place = redis.url.removeprefix("redis://").split("/")[0]
        stores = {kind: feast_store(folder, place, kind) for kind in STORES}
        server = RankingServer.start(bundle(folder), redis_url=redis.url, settings=ServiceSettings())
        channel = grpc.insecure_channel(server.address)
        stub = ServingServiceStub(channel)
        asked = serving.GetOnlineFeaturesRequest(
            features=serving.FeatureList(val=REFERENCES),
            entities={"item_id": RepeatedValue(val=[Value(string_val=one) for one in IDS])},
        )
        process, over_http = feature_server(folder, "stock")
        rows = {"item_id": IDS}
        ways: dict[str, Callable[[], Any]] = {
            "this server, Feast's gRPC stub": lambda: stub.GetOnlineFeatures(asked, timeout=5),
            "get_online_features, packed rows": lambda: stores["packed"].get_online_features(
                REFERENCES, rows
            ),
            "get_online_features, stock Redis": lambda: stores["stock"].get_online_features(REFERENCES, rows),
            "Feast's feature server, stock Redis": over_http,
        }
        try:
            report(ways)
        finally:
            process.kill()
            process.wait()
            channel.close()
            server.stop()


def report(ways: dict[str, Callable[[], Any]]) -> None:
    took: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(ROUNDS + 5):
        for way, call in ways.items():
            began = time.perf_counter()
            call()
            if turn >= 5:
                took[way].append(time.perf_counter() - began)
    first = median(next(iter(took.values())))
    for way, times in took.items():
        print(f"{way:40} {median(times) * 1e3:8.2f} ms {median(times) / first:7.1f} x")


if __name__ == "__main__":
    main()
