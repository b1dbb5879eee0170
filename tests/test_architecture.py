"""The shape of the house: imports point one way, third-party edges are thin, the reading order stays short."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("feature_repo", "materialization", "ranking_service", "skew_checks", "marquee")
"""Each may import itself and those to its left."""

EDGES: dict[str, tuple[str, ...]] = {
    "redis": (
        "materialization/bench/growth.py",
        "materialization/bench/online_world.py",
        "materialization/bench/reads.py",
        "materialization/data_plane/online/cluster_writing.py",
        "materialization/data_plane/online/connection.py",
        "materialization/data_plane/online/deletion.py",
        "materialization/data_plane/online/handshake.py",
        "materialization/data_plane/online/link.py",
        "materialization/data_plane/online/scanning.py",
        "materialization/data_plane/online/redis_address.py",
        "materialization/data_plane/online/slot_map.py",
        "materialization/data_plane/online/write_calls.py",
        "materialization/data_plane/online/writing.py",
        "materialization/feast_store.py",
        "materialization/private_redis.py",
        "materialization/reconciliation.py",
        "ranking_service/bench/bare_redis.py",
        "skew_checks/bench/redis_rows.py",
    ),
    "duckdb": (
        "materialization/bench/join_steps.py",
        "marquee/catalogue.py",
        "materialization/data_plane/offline/asof_gather.py",
        "materialization/data_plane/offline/asof_join.py",
        "materialization/data_plane/offline/asof_match.py",
        "materialization/data_plane/offline/asof_plan.py",
        "materialization/data_plane/offline/asof_snapshot.py",
        "materialization/data_plane/offline/duck.py",
        "materialization/data_plane/offline/duck_sources.py",
        "materialization/data_plane/batch/newest_rows.py",
        "materialization/data_plane/offline/jobs.py",
        "materialization/data_plane/offline/pull.py",
        "materialization/data_plane/batch/reconcile_pass.py",
        "materialization/events/describe.py",
        "materialization/events/store.py",
        "materialization/feast_store.py",
        "materialization/feature_build/snapshot.py",
        "materialization/feature_check/query_rules.py",
        "ranking_service/training/from_log.py",
        "ranking_service/training/labelled.py",
        "skew_checks/causes/of_other_rows.py",
        "skew_checks/replay/event_times.py",
        "skew_checks/judging/key_spelling.py",
    ),
    "grpc": (
        "ranking_service/bench/calls.py",
        "ranking_service/bench/floor_server.py",
        "ranking_service/bench/load_process.py",
        "ranking_service/client/aio.py",
        "ranking_service/client/aio_stream.py",
        "ranking_service/client/calling.py",
        "ranking_service/client/errors.py",
        "ranking_service/client/first_status.py",
        "ranking_service/client/security.py",
        "ranking_service/client/sync.py",
        "ranking_service/client/sync_stream.py",
        "ranking_service/server/feast_api.py",
        "ranking_service/server/http.py",
        "ranking_service/server/messages.py",
        "ranking_service/server/security.py",
        "ranking_service/server/server.py",
        "ranking_service/server/servicer.py",
        "ranking_service/server/status.py",
        "ranking_service/server/tokens.py",
    ),
    "xgboost": (
        "ranking_service/bench/log_cost.py",
        "ranking_service/bench/world.py",
        "ranking_service/bundle.py",
        "ranking_service/online/explain.py",
        "ranking_service/training/train.py",
        "skew_checks/distributions/classifier.py",
    ),
    "feast": (
        "feature_repo/entities.py",
        "feature_repo/fields.py",
        "feature_repo/interaction_views.py",
        "feature_repo/item_views.py",
        "feature_repo/request_time.py",
        "feature_repo/services.py",
        "feature_repo/sources.py",
        "feature_repo/user_views.py",
        "materialization/bench/fetch.py",
        "materialization/bench/join_steps.py",
        "materialization/bench/online_world.py",
        "materialization/bench/own.py",
        "materialization/bench/sides.py",
        "materialization/data_plane/offline/asof_join.py",
        "materialization/data_plane/offline/asof_plan.py",
        "materialization/data_plane/offline/asof_request.py",
        "materialization/data_plane/offline/asof_snapshot.py",
        "materialization/data_plane/batch_engine.py",
        "materialization/data_plane/rows/column_values.py",
        "materialization/data_plane/offline/duck_files.py",
        "materialization/data_plane/offline/duck_sources.py",
        "materialization/data_plane/rows/entities.py",
        "materialization/data_plane/batch/newest_rows.py",
        "materialization/data_plane/offline/jobs.py",
        "materialization/data_plane/offline/pull.py",
        "materialization/data_plane/offline_store.py",
        "materialization/data_plane/offline/write.py",
        "materialization/data_plane/online/reads.py",
        "materialization/data_plane/online/requests.py",
        "materialization/data_plane/online_store.py",
        "materialization/data_plane/online/write_batch.py",
        "materialization/data_plane/batch/own_path.py",
        "materialization/data_plane/reconcile.py",
        "materialization/data_plane/rows/row_making.py",
        "materialization/data_plane/service_fetch.py",
        "materialization/data_plane/rows/values.py",
        "materialization/data_plane/rows/view_layout.py",
        "materialization/data_plane/batch/view_rows.py",
        "materialization/declared.py",
        "materialization/feast_settings.py",
        "materialization/feast_store.py",
        "materialization/feature_check/declarations.py",
        "materialization/feature_check/field_rules.py",
        "materialization/feature_check/name_rules.py",
        "materialization/feature_check/registry_rules.py",
        "ranking_service/bench/stock.py",
        "ranking_service/bench/stock_server.py",
        "ranking_service/compile_contract.py",
        "ranking_service/proto/generate.py",
        "ranking_service/training_join.py",
        "skew_checks/check.py",
        "skew_checks/judging/comparing.py",
        "skew_checks/replay/join.py",
        "skew_checks/replay/view_facts.py",
    ),
}
"""Third-party library to the files that know it: these, and no others."""

READING_ORDER = (
    "README.md",
    "feature_repo/user_views.py",
    "ranking_service/online/ranker.py",
    "ranking_service/training/train.py",
    "skew_checks/replay/join.py",
    "tests/test_journey.py",
)
LONGEST_FILE = 280
LONGEST_BODY = 35


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if "_pb2" not in path.name]


@cache
def imported(path: Path) -> tuple[str, ...]:
    """Every absolute module a file imports, also inside functions."""
    return tuple(_imported(ast.parse(path.read_text(encoding="utf-8"))))


def module_name(path: Path) -> str:
    return str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__")


def imported_files(path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    """Of these modules; `from package import module` imports the module, not what the package's own file does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        if isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{name}" for name in names]
            names = [name if name in files else str(node.module) for name in inner]
        yield from (name for name in names if name in files)


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_to_the_left(layer: str) -> None:
    right = LAYERS[LAYERS.index(layer) + 1 :]
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources(layer)
        for module in imported(path)
        if module.split(".")[0] in right
    ]
    assert not wrong


def test_no_files_import_each_other_in_a_circle() -> None:
    """For type checking only, or inside a function, counts too."""
    files = {module_name(path): path for path in sources(*LAYERS)}
    sorter = TopologicalSorter({name: set(imported_files(path, files)) for name, path in files.items()})
    assert len(list(sorter.static_order())) == len(files)  # CycleError names a circle


def test_the_data_plane_needs_nothing_of_marquee_but_its_errors() -> None:
    """So that any Feast project can use it."""
    ours = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources("materialization/data_plane")
        for module in imported(path)
        if module.split(".")[0] in LAYERS
        and not module.startswith("materialization.data_plane")
        and module != "feature_repo.errors"
    }
    assert not ours


@pytest.mark.parametrize("library", EDGES)
def test_a_third_party_library_is_known_to_few_files(library: str) -> None:
    assert sorted(knowing(library) - {*EDGES[library]}) == []


@pytest.mark.parametrize("library", EDGES)
def test_every_file_that_may_know_a_library_does(library: str) -> None:
    assert sorted({*EDGES[library]} - knowing(library)) == []


def knowing(library: str) -> set[str]:
    """Files that import the library."""
    return {
        str(path.relative_to(ROOT))
        for path in sources(*LAYERS)
        if any(module.split(".")[0] == library for module in imported(path))
    }


def test_serving_needs_no_feast() -> None:
    """The online path, followed through its imports at module level, never reaches Feast."""
    seen: set[str] = set()
    waiting = ["ranking_service.server.server", "ranking_service.client.sync", "ranking_service.client.aio"]
    while waiting:
        module = waiting.pop()
        path = ROOT / (module.replace(".", "/") + ".py")
        if module in seen or not path.is_file():
            continue
        seen.add(module)
        waiting += imported(path)
    assert {"ranking_service.online.stock_redis_reader", "ranking_service.transform_code"} <= seen
    assert not {
        module for module in seen if any(name.split(".")[0] == "feast" for name in imported_by(module))
    }


def imported_by(module: str) -> list[str]:
    return list(imported(ROOT / (module.replace(".", "/") + ".py")))


def test_the_reading_order_is_six_files_that_exist_and_the_readme_names() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    places = [readme.find(f"`{name}`") for name in READING_ORDER[1:]]
    assert all((ROOT / name).is_file() for name in READING_ORDER)
    assert all(place > 0 for place in places), dict(zip(READING_ORDER[1:], places, strict=True))
    assert places == sorted(places)


def test_files_stay_small() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources(*LAYERS)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_FILE
    }
    assert not long


def test_functions_stay_small() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines}"
        for path in sources(*LAYERS)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (lines := body_lines(node)) > LONGEST_BODY
    ]
    assert not long


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Without signature and docstring."""
    statements = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (statements[-1].end_lineno or 0) - statements[0].lineno + 1 if statements else 0
