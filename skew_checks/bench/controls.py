"""What is as it should be, although it looks unusual: the check must stay silent."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from feature_repo.errors import FeatureError
from ranking_service import bundle as bundles
from ranking_service.bundle import OWN_KEYS, Bundle
from ranking_service.contract import Contract
from skew_checks.bench.arrivals import again
from skew_checks.bench.defect import Control
from skew_checks.bench.night import Night
from skew_checks.bench.partitions import with_columns
from skew_checks.bench.rows_changed import change_rows
from skew_checks.bench.serving import Server

TRAFFIC, SAMPLE = 10, 0.01
LEGITIMATE_LAG = timedelta(minutes=45)
NEW_ITEMS_SHARE, NEW_ITEMS = 0.3, 40
ROUNDED_VIEWS = ("item_popularity", "user_activity", "item_genre")


def another_night(night: Night) -> None:
    """The same population once more."""
    night.ask(
        again(night.world.requests, len(night.world.requests), day=night.world.day, random=night.random)
    )


def weekend(night: Night) -> None:
    """Saturday's requests, on Saturday's rows."""
    night.ask(night.world.weekend)


def ten_times_the_traffic(night: Night) -> None:
    requests = night.world.requests
    night.ask(again(requests, TRAFFIC * len(requests), day=night.world.day, random=night.random))


def one_percent_sampling(night: Night) -> None:
    night.sample = SAMPLE


def usual_new_items(night: Night) -> None:
    """Candidates that came out today: no view has a row of them."""
    new = [f"t9{number:05d}" for number in range(NEW_ITEMS)]
    for number in night.some(NEW_ITEMS_SHARE):
        arrival = night.arrivals[number]
        added = new[int(night.random.integers(len(new)))]
        candidates = (*arrival.request.candidate_ids, added)
        night.arrivals[number] = replace(arrival, request=replace(arrival.request, candidate_ids=candidates))


def columns_reordered(night: Night) -> None:
    """Another order of columns in the partitions, and in model and manifest alike."""
    bundle = night.world.bundle
    order = night.random.permutation(len(bundle.contract.features)).tolist()
    contract = replace(bundle.contract, features=tuple(bundle.contract.features[place] for place in order))
    _publish(night, bundle, _reordered(bundle, order), contract, "reordered")
    view = night.view("item_popularity")
    for instant, path in night.partitions.instants(view).items():
        table = night.partitions.at(view, instant)
        night.partitions.rewrite(path, table.select(sorted(table.column_names, reverse=True)))
    night.arrivals = [replace(arrival, server=1) for arrival in night.arrivals]


def lag_inside_the_target(night: Night) -> None:
    """Every run's rows reach Redis 45 minutes after its instant."""
    night.read_after(LEGITIMATE_LAG)


def rounding_of_the_last_bit(night: Night) -> None:
    """Every float of three views is the next float32."""

    def rounded(table: pa.Table, _step: int) -> pa.Table:
        floats = [field.name for field in table.schema if field.type == pa.float32()]
        return with_columns(
            table,
            {
                name: pa.array(
                    np.nextafter(np.array(table[name].fill_null(np.nan)), np.float32(np.inf)),
                    pa.float32(),
                    from_pandas=True,
                )
                for name in floats
            },
        )

    for name in ROUNDED_VIEWS:
        change_rows(night, name, 1.0, rounded)


def population_shift(night: Night) -> None:
    """Only televisions ask, or only the rarest surface where no device is known."""
    requests = [request for request in night.world.requests if request.device == "tv"]
    if not requests:
        surfaces = [request.surface or "" for request in night.world.requests]
        rarest = min(sorted({*surfaces}), key=surfaces.count)
        requests = [request for request in night.world.requests if (request.surface or "") == rarest]
    night.ask(again(requests, len(night.world.requests), day=night.world.day, random=night.random))


def retrained_model(night: Night) -> None:
    """From noon a new model serves."""
    bundle = night.world.bundle
    fewer = bundle.booster[: bundle.booster.num_boosted_rounds() - 1]
    _publish(night, bundle, fewer, bundle.contract, "retrained")
    noon = (night.world.day + timedelta(hours=12)).timestamp()
    night.arrivals = [
        replace(arrival, server=1) if arrival.request.request_timestamp >= noon else arrival
        for arrival in night.arrivals
    ]


def _publish(night: Night, bundle: Bundle, booster: Any, contract: Contract, suffix: str) -> None:
    """A second bundle in the night's own models, and a server of it."""
    models = night.workspace.models
    target = models.resolve()
    models.unlink()
    models.mkdir()
    for path in target.iterdir():
        (models / path.name).symlink_to(path)
    manifest = {key: value for key, value in bundle.manifest.items() if key not in OWN_KEYS}
    path = bundles.publish(
        models, version=f"{bundle.version}-{suffix}", booster=booster, contract=contract, manifest=manifest
    )
    published = bundles.load(path)
    night.servers.append(Server(published, published.contract))


def _reordered(bundle: Bundle, order: list[int]) -> Any:
    """The same trees for columns in another order, by the model's own JSON."""
    model = json.loads(bundle.booster.save_raw("json"))
    place = {old: new for new, old in enumerate(order)}
    learner = model["learner"]
    for tree in learner["gradient_booster"]["model"]["trees"]:
        tree["split_indices"] = [place[index] for index in tree["split_indices"]]
        if tree["categories"]:
            raise FeatureError("the model splits by categories, which this control does not know")
    for name in ("feature_names", "feature_types"):
        if learner[name]:
            learner[name] = [learner[name][old] for old in order]
    booster = type(bundle.booster)()
    booster.load_model(bytearray(json.dumps(model).encode()))
    return booster


CONTROLS = (
    Control("a-a", "another night of the same population", another_night),
    Control(
        "weekend",
        "Saturday after a model trained on weekdays and one weekend",
        weekend,
        needs_weekend=True,
        may_drift=True,
    ),
    Control("ten-times-traffic", "ten times as many requests", ten_times_the_traffic),
    Control("sampling", "the log keeps 1 % of users", one_percent_sampling, is_small=True),
    Control("new-items", "a third of requests have a candidate that came out today", usual_new_items),
    Control(
        "columns-reordered", "another order of columns in partitions, model and manifest", columns_reordered
    ),
    Control("lag", "rows reach Redis 45 minutes late, target 90", lag_inside_the_target),
    Control("last-bit", "floats differ in their last bit", rounding_of_the_last_bit),
    Control("population-shift", "only televisions ask", population_shift, may_drift=True),
    Control("retrained", "a new model serves from noon", retrained_model),
)
