"""The features against a naive second implementation, over worlds nobody chose."""

from __future__ import annotations

import math
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import DAY, HOUR, INSTANT, MONDAY, OUTCOMES, Row, exposure, history, item, snapshots, write_world

AS_OF = MONDAY + 7 * DAY
USERS = ("u1", "u12", "ü|'1", "")
ITEMS = ("i1", "i23", "東京 #3", "i3")
GENRES = ("drama", "sci-fi, 'new'", "ドラマ", "x")
SURFACES = ("home", "search", "row 3")

times = st.integers(-9 * 24, 2 * 24).map(lambda hours: AS_OF + hours * HOUR) | st.sampled_from(
    [AS_OF - days * DAY + step for days in (0, 1, 3, 7) for step in (-INSTANT, timedelta(0), INSTANT)]
)
delays = st.sampled_from([timedelta(0), INSTANT, HOUR, 3 * DAY])


@st.composite
def exposures(draw: st.DrawFn) -> Row:
    at = draw(times)
    flags = {name: draw(st.booleans()) for name in OUTCOMES}
    return exposure(
        draw(st.sampled_from(USERS)),
        draw(st.sampled_from(ITEMS)),
        at,
        known=at + draw(delays),
        surface=draw(st.sampled_from(SURFACES)),
        device=draw(st.sampled_from(["tv", "phone", None])),
        session_id=draw(st.sampled_from(["s1", "s2", None])),
        play_ms=draw(st.integers(0, 400_000) | st.none()),
        duration_ms=draw(st.integers(1, 100_000) | st.none()),
        **flags,
    )


@st.composite
def catalogues(draw: st.DrawFn) -> list[Row]:
    return [
        item(
            name,
            known=draw(st.sampled_from([MONDAY - DAY, AS_OF - INSTANT, AS_OF])),
            genres=draw(st.lists(st.sampled_from(GENRES), unique=True)),
            author_id=draw(st.sampled_from(["w1", "w 2", None])),
        )
        for name in draw(st.lists(st.sampled_from(ITEMS), unique=True))
    ]


@st.composite
def pasts(draw: st.DrawFn) -> list[Row]:
    some = st.lists(st.sampled_from(ITEMS), max_size=4)
    return [
        history(name, exposed=draw(some), long_viewed=draw(some), liked=draw(some))
        for name in draw(st.lists(st.sampled_from(USERS), unique=True, max_size=2))
    ]


@dataclass(frozen=True)
class Known:
    """The rows of a world that are known as of an instant."""

    shown: list[Row]
    items: dict[str, Row]
    histories: dict[str, Row]

    @classmethod
    def of(cls, shown: Iterable[Row], items: Iterable[Row], histories: Iterable[Row]) -> Known:
        return cls(
            [row for row in shown if row["created_timestamp"] < AS_OF and row["event_timestamp"] < AS_OF],
            {row["item_id"]: row for row in items if row["created_timestamp"] < AS_OF},
            {row["user_id"]: row for row in histories if row["created_timestamp"] < AS_OF},
        )

    def rate(self, outcome: str, prior: float) -> float:
        return smoothed(total(self.shown, outcome), len(self.shown), prior, 10)

    def tastes(self) -> list[Row]:
        """One row per exposure that is logged or remembered."""
        rows = [dict(row) for row in self.shown]
        for name, past in self.histories.items():
            exposed, seen, liked = (past[f"{kind}_item_ids"] for kind in ("exposed", "long_viewed", "liked"))
            rows += [taste(name, one, one in seen, one in liked) for one in exposed]
            rows += [taste(name, one, True, False) for one in seen if one not in exposed]
            rows += [taste(name, one, False, True) for one in liked if one not in exposed]
        return rows


def taste(user_id: str, item_id: str, long_view: bool, like: bool) -> Row:
    return {"user_id": user_id, "item_id": item_id, "long_view": long_view, "like": like}


def total(rows: Iterable[Row], outcome: str) -> int:
    return sum(bool(row[outcome]) for row in rows)


def smoothed(hits: float, trials: float, prior: float, weight: float) -> float:
    return (hits + weight * prior) / (trials + weight)


def within(rows: Iterable[Row], days: int) -> list[Row]:
    return [row for row in rows if row["event_timestamp"] >= AS_OF - days * DAY]


def by(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def share(row: Row) -> float | None:
    if row["play_ms"] is None or row["duration_ms"] is None:
        return None
    return min(row["play_ms"] / row["duration_ms"], 3.0)


def mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


WINDOWED = {"clicks": "click", "long_views": "long_view", "completions": "completed", "likes": "like"}
RATES = {
    "click_rate": ("click", 0.2),
    "long_view_rate": ("long_view", 0.2),
    "completion_rate": ("completed", 0.1),
}


def activity(known: Known, key: str, weight: float, kept: int) -> dict[str, Row]:
    """user_activity's and item_popularity's shared part; `kept` is the longest window and the view's ttl, in days."""
    prefix = key.removesuffix("_id")
    result = {}
    for entity, met in by(within(known.shown, kept), lambda row: row[key]).items():
        values: Row = {}
        rows = within(met, 7)
        for days in (1, 3, 7):
            recent = within(rows, days)
            values[f"{prefix}_exposures_{days}d"] = len(recent)
            for name, outcome in WINDOWED.items():
                values[f"{prefix}_{name}_{days}d"] = total(recent, outcome)
            for name, (outcome, prior) in RATES.items():
                hits = total(recent, outcome)
                values[f"{prefix}_{name}_{days}d"] = smoothed(
                    hits, len(recent), known.rate(outcome, prior), weight
                )
        values[f"{prefix}_watched_share_7d"] = mean(map(share, rows))
        values[f"{prefix}_hides_7d"] = total(rows, "hide")
        result[entity] = values
    return result


def pairs(known: Known) -> dict[tuple[str, str], Row]:
    result = {}
    for key, met in by(within(known.shown, 9), lambda row: (row["user_id"], row["item_id"])).items():
        rows = within(met, 7)
        last = max(rows, key=lambda row: (row["event_timestamp"], row["exposure_id"]), default=None)
        shares = [value for value in map(share, rows) if value is not None]
        result[key] = {
            "pair_exposures": len(rows),
            "pair_clicks": total(rows, "click"),
            "pair_long_views": total(rows, "long_view"),
            "pair_skips": len(rows) - total(rows, "click"),
            "pair_best_watched_share": max(shares, default=None),
            "pair_last_watched_share": share(last) if last else None,
            "pair_last_seen_at": last["event_timestamp"].timestamp() if last else None,
        }
    return result


def tastes(known: Known) -> dict[str, Row]:
    met = [row | known.items[row["item_id"]] for row in known.tastes() if row["item_id"] in known.items]
    result: dict[str, Row] = {}
    for name, rows in by(met, lambda row: row["user_id"]).items():
        genres = by(
            ({**row, "genre": one} for row in rows for one in row["genres"]), lambda row: row["genre"]
        )
        authors = by((row for row in rows if row["author_id"]), lambda row: row["author_id"])
        values: Row = {}
        for kind, groups, names in (("genre", genres, "genre_names"), ("author", authors, "author_ids")):
            order = sorted(groups, key=lambda one: one.encode())
            values[f"user_{names}"] = order or None
            values[f"user_{kind}_exposures"] = [len(groups[one]) for one in order] or None
            values[f"user_{kind}_long_views"] = [total(groups[one], "long_view") for one in order] or None
            values[f"user_{kind}_likes"] = [total(groups[one], "like") for one in order] or None
            values[f"user_{kind}_count"] = len(order) or None
        liked = {one: hits for one, rows in genres.items() if (hits := total(rows, "long_view"))}
        best = max(liked, key=lambda one: (liked[one], one.encode()), default=None)
        values["user_favourite_genre"] = best
        if genres or authors:
            result[name] = values
    return result


def surfaces(known: Known) -> dict[str, Row]:
    result = {}
    for name, rows in by(known.shown, lambda row: row["item_id"]).items():
        groups = by(rows, lambda row: row["surface"])
        order = sorted(groups)
        result[name] = {
            "item_surface_names": order,
            "item_surface_exposures": [len(groups[one]) for one in order],
            "item_surface_clicks": [total(groups[one], "click") for one in order],
            "item_surface_long_views": [total(groups[one], "long_view") for one in order],
            "item_surface_count": len(order),
        }
    return result


def authors(known: Known) -> dict[str, Row]:
    catalogue = {name: row for name, row in known.items.items() if row["author_id"]}
    titles = Counter(row["author_id"] for row in catalogue.values())
    met = [row | catalogue[row["item_id"]] for row in known.shown if row["item_id"] in catalogue]
    # An item's own columns must not hide the exposure's time.
    for row, source in zip(met, (row for row in known.shown if row["item_id"] in catalogue), strict=True):
        row["event_timestamp"] = source["event_timestamp"]
    groups = by(met, lambda row: row["author_id"])
    result = {}
    for name, row in catalogue.items():
        rows = groups.get(row["author_id"], [])
        recent = within(rows, 7)
        result[name] = {
            "author_titles": titles[row["author_id"]],
            "author_exposures": len(rows),
            "author_exposures_7d": len(recent),
            "author_viewers": len({one["user_id"] for one in rows}),
            "author_follows": total(rows, "follow"),
            "author_like_rate": smoothed(total(rows, "like"), len(rows), known.rate("like", 0.02), 50),
            "author_long_view_rate_7d": smoothed(
                total(recent, "long_view"), len(recent), known.rate("long_view", 0.2), 20
            ),
        } | {
            f"author_{rate}": smoothed(total(rows, outcome), len(rows), known.rate(outcome, prior), 20)
            for rate, (outcome, prior) in RATES.items()
        }
    return result


def genres(known: Known) -> dict[str, Row]:
    titles = Counter(one for row in known.items.values() for one in row["genres"])
    met: dict[str, list[Row]] = {one: [] for one in titles}
    for row in known.shown:
        for one in known.items.get(row["item_id"], {"genres": []})["genres"]:
            met[one].append(row)
    result = {}
    for name, row in known.items.items():
        if not row["genres"]:
            continue
        groups = [met[one] for one in row["genres"]]
        rates = {
            rate: [
                smoothed(total(rows, outcome), len(rows), known.rate(outcome, prior), 50) for rows in groups
            ]
            for rate, (outcome, prior) in RATES.items()
        }
        trends = [7 * len(within(rows, 1)) / len(within(rows, 7)) for rows in groups if within(rows, 7)]
        result[name] = {
            "genre_exposures": max(map(len, groups)),
            "genre_titles": max(titles[one] for one in row["genres"]),
            "genre_trend": max(trends, default=None),
            "genre_best_long_view_rate": max(rates["long_view_rate"]),
            "genre_worst_long_view_rate": min(rates["long_view_rate"]),
            **{f"genre_{rate}": mean(values) for rate, values in rates.items()},
        }
    return result


ORACLES: dict[str, Callable[[Known], dict[Any, Row]]] = {
    "user_activity": lambda known: activity(known, "user_id", 10, 9),
    "item_popularity": lambda known: activity(known, "item_id", 20, 8),
    "user_item": pairs,
    "user_tastes": tastes,
    "item_surfaces": surfaces,
    "item_author": authors,
    "item_genre": genres,
}


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, float):
        return math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-9)
    return bool(found == expected)


@given(st.lists(exposures(), min_size=1, max_size=25), catalogues(), pasts())
@settings(max_examples=25, deadline=None)
def test_features_are_what_a_naive_implementation_counts(
    shown: list[Row], items: list[Row], histories: list[Row]
) -> None:
    numbered = [{"exposure_id": f"e{index:06}", **row} for index, row in enumerate(shown)]
    known = Known.of(numbered, items, histories)
    with tempfile.TemporaryDirectory() as home:
        found = snapshots(write_world(Path(home), numbered, items=items, histories=histories), AS_OF, ORACLES)
    for view, oracle in ORACLES.items():
        expected = oracle(known)
        assert found[view].keys() == expected.keys(), view
        for key, row in expected.items():
            wrong = {
                name: (found[view][key][name], value)
                for name, value in row.items()
                if not same(found[view][key][name], value)
            }
            assert not wrong, (view, key)


later = st.integers(0, 10 * 24 * 3600).map(lambda seconds: AS_OF + timedelta(seconds=seconds))


@given(
    st.lists(exposures(), min_size=1, max_size=12),
    st.lists(st.tuples(exposures(), later), min_size=1, max_size=12),
    catalogues(),
)
@settings(max_examples=12, deadline=None)
def test_nothing_that_becomes_known_later_changes_an_earlier_snapshot(
    shown: list[Row], unknown: list[tuple[Row, datetime]], items: list[Row]
) -> None:
    """Later events, late outcomes of earlier events, new items, new versions of items."""
    numbered = [{"exposure_id": f"e{index:06}", **row} for index, row in enumerate(shown)]
    arriving = [
        {**row, "exposure_id": f"f{index:06}", "created_timestamp": max(row["event_timestamp"], known)}
        for index, (row, known) in enumerate(unknown)
    ]
    changed = [*items, *(item(name, known=AS_OF, genres=["new"], author_id="new") for name in ITEMS)]
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        before = snapshots(write_world(Path(one), numbered, items=items), AS_OF)
        after = snapshots(write_world(Path(other), numbered + arriving, items=changed), AS_OF)
    assert before == after


@pytest.mark.parametrize("view", sorted(ORACLES))
def test_the_naive_implementation_speaks_of_declared_features_only(view: str) -> None:
    from worlds import VIEWS

    shown = [{"exposure_id": "e", **exposure("u", "i", AS_OF - HOUR)}]
    known = Known.of(shown, [item("i", genres=["g"], author_id="w")], [])
    assert {name for row in ORACLES[view](known).values() for name in row} <= set(VIEWS[view].schema.names)
