"""Import MovieTweetings: film ratings posted on Twitter.

What is decided here, because the source leaves it open:

- A rating is an exposure on the surface `twitter`. Who rates a film has seen it, so click, long_view and
  completed are true everywhere; the outcome worth learning is `like`: a rating of 7 or more (of 10).
- A user becomes known with the first rating; the films are an undated snapshot, known from 00:00 UTC of the
  day of the first rating.
- A film's release is 1 January of the year in its title: the source has no better date.
- Film ids are IMDb numbers as text: leading zeros are part of them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.errors import EventDataError
from materialization.events import reading
from materialization.events.schemas import TIMESTAMP
from materialization.events.sieve import Sieve, number_repeats
from materialization.events.store import EventStore, Source
from materialization.events.writer import EventWriter
from materialization.progress import Report, silent

LIKED_FROM = 7
"""Smallest rating (0..10) that counts as a like."""
RATING_COLUMNS = ("user_id", "movie_id", "rating", "rating_timestamp")
MOVIE_COLUMNS = ("movie_id", "title", "genres")
TITLE = r"^(?P<title>.*\S)\s+\((?P<year>\d{4})\)$"
ALWAYS = ("click", "long_view", "completed")
NEVER = ("follow", "comment", "share", "hide", "profile_visit")
NOTES = (
    "a rating counts as a completed view; like means a rating of 7 or more",
    "films are one undated snapshot, taken as known on the day of the first rating",
    "a film's release is 1 January of its year",
)


def import_movietweetings(store: EventStore, folder: Path, *, report: Report = silent) -> Source:
    """Replace the store by the data set in `folder`; returns the new source description.

    Raises EventDataError when a file is missing, truncated or not what it claims; the store stays as it was.
    """
    ratings, movies = (reading.existing(folder, name)[0] for name in ("ratings.dat.gz", "movies.dat.gz"))
    source = {
        "kind": "movietweetings",
        "label": "like",
        "arguments": {"folder": folder.resolve().name},
        "files": reading.digests([ratings, movies]),
        "notes": list(NOTES),
    }
    with store.rewrite(source) as writer:
        first = _write_ratings(writer, ratings)
        report("reading MovieTweetings", 1, 2)
        _write_movies(writer, movies, known_from=first.replace(hour=0, minute=0, second=0, microsecond=0))
        report("reading MovieTweetings", 2, 2)
    return store.source()


def _write_ratings(writer: EventWriter, file: Path) -> datetime:
    """Write exposures and users; returns the time of the first rating."""
    original, wrong_lines = _fields(file, RATING_COLUMNS)
    sieve = Sieve(file, original)
    for column in ("user_id", "movie_id"):
        sieve.reject_unless_number(column)
    sieve.numbers(["rating", "rating_timestamp"], largest=10**15)
    sieve.reject(
        pc.or_(pc.less(sieve.table["rating"], 0), pc.greater(sieve.table["rating"], 10)),
        "rating is not 0..10",
    )
    sieve.reject_implausible_times("rating_timestamp", unit_ms=1000)
    sieve.reject_missing(RATING_COLUMNS)
    sieve.reject_duplicates()
    rows = sieve.accepted().sort_by([("rating_timestamp", "ascending"), ("user_id", "ascending")])
    exposures = _exposures(rows)
    writer.write("exposures", exposures)
    writer.write("users", _users(exposures))
    sieve.put_aside(writer, "exposures", original)
    writer.quarantine("exposures", wrong_lines, "wrong number of fields")
    first: datetime = pc.min(exposures["event_timestamp"]).as_py()
    return first.astimezone(UTC)


def _exposures(rows: pa.Table) -> pa.Table:
    time = pc.multiply(rows["rating_timestamp"], 1_000_000).cast(TIMESTAMP)
    seconds = rows["rating_timestamp"].cast(pa.string())
    request = pc.binary_join_element_wise(rows["user_id"], seconds, "-")
    return pa.table(
        {
            "exposure_id": number_repeats(pc.binary_join_element_wise(request, rows["movie_id"], "-")),
            "request_id": request,
            "user_id": rows["user_id"],
            "item_id": rows["movie_id"],
            "event_timestamp": time,
            "created_timestamp": time,
            "surface": pa.repeat("twitter", len(rows)),
            **{name: pa.repeat(True, len(rows)) for name in ALWAYS},
            **{name: pa.repeat(False, len(rows)) for name in NEVER},
            "like": pc.greater_equal(rows["rating"], LIKED_FROM),
            "rating": rows["rating"].cast(pa.float32()),
        }
    )


def _users(exposures: pa.Table) -> pa.Table:
    """One row per user: the source has no attributes, only the time it first saw them."""
    first = exposures.group_by("user_id", use_threads=False).aggregate([("event_timestamp", "min")])
    return pa.table({"user_id": first["user_id"], "created_timestamp": first["event_timestamp_min"]})


def _write_movies(writer: EventWriter, file: Path, *, known_from: datetime) -> None:
    original, wrong_lines = _fields(file, MOVIE_COLUMNS)
    sieve = Sieve(file, original)
    sieve.reject_unless_number("movie_id")
    sieve.reject(pc.equal(original["title"], ""), "title is missing")
    sieve.reject_duplicates()
    sieve.reject_repeats("movie_id")
    rows = sieve.accepted()
    parts = pc.extract_regex(rows["title"], TITLE)
    genres = pc.split_pattern(rows["genres"], "|")
    without = pc.equal(rows["genres"], "")
    items = {
        "item_id": rows["movie_id"],
        "created_timestamp": pa.repeat(pa.scalar(known_from, TIMESTAMP), len(rows)),
        "title": pc.coalesce(pc.struct_field(parts, "title"), rows["title"]),
        "genres": pc.if_else(without, pa.scalar([], genres.type), genres),
        "release_timestamp": _new_year(pc.struct_field(parts, "year")),
        "item_type": pa.repeat("film", len(rows)),
    }
    writer.write("items", pa.table(items))
    sieve.put_aside(writer, "items", original)
    writer.quarantine("items", wrong_lines, "wrong number of fields")


def _new_year(year: pa.ChunkedArray) -> pa.ChunkedArray:
    text = pc.binary_join_element_wise(year, "-01-01", "")
    return pc.strptime(text, format="%Y-%m-%d", unit="us", error_is_null=True).cast(TIMESTAMP)


def _fields(file: Path, columns: tuple[str, ...]) -> tuple[pa.Table, pa.Table]:
    """The `::`-separated lines as text columns; apart, lines with another field count (`line`, `text`)."""
    lines = reading.gzip_text(file).rstrip("\n").split("\n")
    split = [line.split("::") for line in lines]
    right = [fields for fields in split if len(fields) == len(columns)]
    if not right:
        raise EventDataError(
            f"{file} is not what it should be: no line has {len(columns)} fields ({'::'.join(columns)})"
        )
    wrong = [(index + 1, lines[index]) for index, fields in enumerate(split) if len(fields) != len(columns)]
    values = [pa.array(column, pa.string()) for column in zip(*right, strict=True)]
    return pa.table(values, names=list(columns)), reading.numbered_lines(wrong)
