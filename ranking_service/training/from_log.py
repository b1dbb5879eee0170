"""Log and wait: a training set of what was really served, with the outcomes that came within a window.

A row is one candidate that a complete answer returned and that was then shown: an exposure of the same request, user
and item, from the request's time on and within the window. Its label is the outcome as known when the window closed:
what came later counts as nothing. Its features are the model's inputs as logged, nothing is joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.errors import BundleError, EventDataError, TrainingDataError
from feature_repo.workspace import Workspace
from materialization.events.store import EventStore, reading
from ranking_service.bundle import load
from ranking_service.contract import Contract
from ranking_service.models.registry import registry_of
from ranking_service.serving_log.places import closed_segments
from ranking_service.serving_log.tables import MODEL_PREFIX
from ranking_service.training.labelled import LABELS, Labelled, Split
from ranking_service.training.train import Recipe, Step, TrainingSet, check_objective, fit_and_publish

ATTRIBUTION = timedelta(hours=1)
COMPLETE = 0


@dataclass(frozen=True)
class LogOrigin:
    """Where the rows come from; stands in the bundle's manifest."""

    attribution_seconds: float
    bundles: Mapping[str, int]
    """Requests by bundle that served with the same features and dictionaries, and so could be used."""
    left_out: Mapping[str, int]
    """Requests by bundle that served with others, or that is gone."""
    returned: int
    """Candidates that complete answers of those bundles returned."""
    rows: int
    """Of them shown within the window, and the window over."""
    kind: str = "serving-log"


def train_from_log(
    workspace: Workspace,
    recipe: Recipe,
    *,
    attribution: timedelta = ATTRIBUTION,
    validate_days: int = 1,
    test_days: int = 3,
    now: datetime,
    step: Step = lambda _sentence: None,
) -> Path:
    """Fit a ranker on what was served and publish its bundle; returns the bundle's folder.

    Raises TrainingDataError where there is nothing to learn from, EventDataError for a damaged file.
    """
    check_objective(recipe)
    label = recipe.label or EventStore(workspace.events).source()["label"]
    step("reading what was served, and what came of it")
    rows = logged_training_set(
        workspace,
        recipe.service,
        label=label,
        attribution=attribution,
        validate_days=validate_days,
        test_days=test_days,
    )
    return fit_and_publish(workspace, rows, recipe, label=label, now=now, step=step)


def logged_training_set(
    workspace: Workspace,
    service: str,
    *,
    label: str,
    attribution: timedelta = ATTRIBUTION,
    validate_days: int = 1,
    test_days: int = 3,
) -> TrainingSet:
    """What was served by the newest bundle of the service, and by all others with the very same features."""
    if label not in LABELS:
        raise TrainingDataError(f"label {label!r} is not one of {', '.join(LABELS)}")
    with _reading_log(workspace) as connection:
        usable = _usable(workspace, service, _versions(connection))
        _read_shown(connection, EventStore(workspace.events), label)
        parameters = {"versions": list(usable.bundles), "level": COMPLETE}
        ((returned,),) = connection.execute(_RETURNED, parameters).fetchall()
        names = [MODEL_PREFIX + name for name in usable.contract.feature_names]
        query = _ROWS.format(features=", ".join(f'"{name}"' for name in names))
        rows = connection.sql(query, params=parameters | {"attribution": attribution})
        table: pa.Table = rows.to_arrow_table()
    labels = table["label"].to_numpy()
    if not len(labels) or labels.min() == labels.max():
        raise TrainingDataError(
            f"{len(labels)} of {returned} returned candidates were shown within {attribution}, "
            f"{'all with the same ' + label if len(labels) else 'too few to learn from'}; wait for more outcomes, or "
            "choose another label or window"
        )
    matrix = np.stack([table[name].to_numpy() for name in names], axis=1).astype(np.float32)
    labelled = Labelled(table.drop_columns(names), labels)
    split = _split(labelled.seconds, validate_days=validate_days, test_days=test_days)
    origin = LogOrigin(
        attribution.total_seconds(), usable.bundles, usable.left_out, int(returned), len(table)
    )
    return TrainingSet(labelled, usable.contract, matrix, split, asdict(origin))


@contextmanager
def _reading_log(workspace: Workspace) -> Iterator[duckdb.DuckDBPyConnection]:
    """The log's tables as the views `requests` and `candidates`."""
    segments = closed_segments(workspace.serving_log)
    if not segments:
        raise TrainingDataError(
            f"{workspace.serving_log} has no closed segment to train on; serve with the log on, and wait"
        )
    tables = {
        "requests": [segment.requests for segment in segments],
        "candidates": [segment.candidates for segment in segments],
    }
    with duckdb.connect() as connection:
        try:
            connection.execute("SET TimeZone = 'UTC'")
            for name, files in tables.items():
                connection.read_parquet(
                    [str(file) for file in files], union_by_name=True, hive_partitioning=False
                ).create_view(name)
            yield connection
        except duckdb.Error as error:
            problem = str(error).strip().splitlines()[0]
            raise EventDataError(
                f"{workspace.serving_log} cannot be read: {problem}; move the segment away, or try again if retention "
                "deleted it meanwhile"
            ) from error


def _versions(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Requests by bundle, the newest bundle last."""
    return dict(
        connection.execute(
            "SELECT bundle_version, count(*) FROM requests GROUP BY ALL ORDER BY max(received_timestamp)"
        ).fetchall()
    )


def _read_shown(connection: duckdb.DuckDBPyConnection, events: EventStore, label: str) -> None:
    """Exposures with their outcome as the table `shown`."""
    with reading(events.root / "exposures"):
        connection.execute(_SHOWN.format(exposures=events.glob("exposures").replace("'", "''"), label=label))


@dataclass(frozen=True)
class _Usable:
    """What of the log one model can learn from."""

    contract: Contract
    bundles: dict[str, int]
    left_out: dict[str, int]


def _usable(workspace: Workspace, service: str, versions: Mapping[str, int]) -> _Usable:
    """The newest contract of the service, and the bundles with its features: names, defaults and categories."""
    contracts: dict[str, Contract] = {}
    registry = registry_of(workspace)
    for version in versions:
        with suppress(BundleError):  # it is gone: what its codes of categories meant is not known
            contracts[version] = load(registry.folder(version)).contract
    served = [version for version in contracts if contracts[version].service == service]
    if not served:
        raise TrainingDataError(
            f"the log has requests of {', '.join(versions)}, but of no bundle of {service} that is still there"
        )
    contract = contracts[served[-1]]
    fitting = {version for version in served if _reads_like(contracts[version]) == _reads_like(contract)}
    return _Usable(
        contract,
        {version: count for version, count in versions.items() if version in fitting},
        {version: count for version, count in versions.items() if version not in fitting},
    )


def _reads_like(contract: Contract) -> str:
    """The same for contracts whose model inputs mean the same. Text, because NaN is no equal of itself."""
    return repr((contract.features, contract.transforms, contract.raw_fields))


_SHOWN = """
CREATE TEMP TABLE shown AS
SELECT request_id, user_id, item_id, exposure_id, event_timestamp, created_timestamp, "{label}" AS outcome
FROM read_parquet('{exposures}', hive_partitioning = false)
"""
_RETURNED = """
SELECT count(*) FROM requests JOIN candidates USING (served_id)
WHERE is_returned AND bundle_version IN $versions AND level = $level
"""
_ROWS = """
WITH served AS (
    SELECT served_id, request_id, user_id, item_id, request_timestamp,
        make_timestamptz(round(request_timestamp * 1e6)::BIGINT) AS asked
    FROM requests JOIN (SELECT served_id, item_id FROM candidates WHERE is_returned) USING (served_id)
    WHERE bundle_version IN $versions AND level = $level
), attributed AS (
    SELECT served_id, any_value(request_id) AS request_id, any_value(user_id) AS user_id, item_id,
        any_value(request_timestamp) AS request_timestamp, any_value(asked) AS asked,
        arg_min(exposure_id, (event_timestamp, exposure_id)) AS exposure_id,
        bool_or(outcome AND created_timestamp <= asked + $attribution) AS outcome
    FROM served JOIN shown USING (request_id, user_id, item_id)
    WHERE event_timestamp BETWEEN asked AND asked + $attribution
    GROUP BY served_id, item_id
    HAVING any_value(asked) + $attribution <= (SELECT max(created_timestamp) FROM shown)
), chosen AS (
    FROM attributed
    QUALIFY row_number() OVER (PARTITION BY request_id, user_id, item_id ORDER BY asked DESC, served_id DESC) = 1
)
SELECT exposure_id, request_id, user_id, item_id, request_timestamp, outcome::DOUBLE AS label, {features}
FROM chosen JOIN candidates USING (served_id, item_id)
ORDER BY request_timestamp, exposure_id
"""


def _split(seconds: npt.NDArray[np.float64], *, validate_days: int, test_days: int) -> Split:
    """A log's first day counts: its features are there."""
    first, last = (datetime.fromtimestamp(float(at), UTC) for at in (seconds.min(), seconds.max()))
    return Split.by_days(first, last, validate_days=validate_days, test_days=test_days, skip_first=False)
