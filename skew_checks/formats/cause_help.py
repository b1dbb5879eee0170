"""What each cause means and the first thing to do about it: the words of page and terminal.

`docs/causes/<value>.md` has the whole of it, and begins with these sentences (a test compares).
"""

from __future__ import annotations

from dataclasses import dataclass

from skew_checks.result.cause import Cause


@dataclass(frozen=True)
class Help:
    """Whole sentences."""

    title: str
    meaning: str
    mend: str

    def page(self, cause: Cause) -> str:
        """Where the rest stands, from the root of the repository."""
        return f"docs/causes/{cause.value}.md"


HELP: dict[Cause, Help] = {
    Cause.DUPLICATE_LOG_ROWS: Help(
        "Duplicate log rows",
        "The serving log has the same request, or the same candidate of a request, more than once.",
        "Find what wrote twice (a restored backup, a copied segment) and delete the copies; serving needs nothing.",
    ),
    Cause.ASSEMBLY: Help(
        "Wrong assembly",
        "The stored values are right, but a model column was filled from another column.",
        "Restart the servers so that they take the bundle's own plan; if it stays, publish the bundle again.",
    ),
    Cause.CATEGORY_DICTIONARY: Help(
        "Category dictionary",
        "The stored text is right, but it became another code than training gave it.",
        "Serve with the dictionary that is in the bundle; if the bundle's is wrong, retrain.",
    ),
    Cause.TRANSFORM_CODE: Help(
        "Transform code",
        "A request-time transform ran other code, or on other inputs, than it was trained with.",
        "Deploy the code the bundle was trained on, or retrain on the present one.",
    ),
    Cause.DEFAULT_FILL: Help(
        "Default fill",
        "The model got a default although there was a value, or another default than the declared one.",
        "Compare the default in the feature view with the one in the bundle; if they differ, retrain or restore it.",
    ),
    Cause.KEY_MISMATCH: Help(
        "Key mismatch",
        "There is no row under the key that was asked for, but one under another spelling of it.",
        "Make the client send the id as the offline store has it (type, padding, letter case), then materialize.",
    ),
    Cause.NEVER_MATERIALIZED: Help(
        "Never materialized",
        "Redis had no row although one was due: it was never written, or was evicted.",
        "Run `marquee features reconcile`, then look at Redis for evictions (`evicted_keys` of INFO).",
    ),
    Cause.MATERIALIZATION_GAP: Help(
        "Materialization gap",
        "Redis had an older row than the one that was due: a run was skipped or only half done.",
        "Run `marquee features materialize`, then find out why the run before did not finish.",
    ),
    Cause.LATE_DATA: Help(
        "Late data",
        "The right row became known only after serving had read the older one.",
        "Run `marquee features reconcile`, which brings late rows; then make the source deliver earlier.",
    ),
    Cause.CORRECTION_NOT_APPLIED: Help(
        "Correction not applied",
        "Redis has an earlier version of the right row: its values were corrected offline and not written again.",
        "Run `marquee features reconcile` for the view; it writes what differs.",
    ),
    Cause.TTL: Help(
        "Ttl",
        "One side took a row as expired that the other one used.",
        "Compare the view's `ttl` with the one in the bundle's plan; apply, then retrain or publish again.",
    ),
    Cause.CLOCK: Help(
        "Clock or time zone",
        "Event or request times are off by a constant, such as a time zone or an hour of daylight saving.",
        "Find who writes local time as UTC (client, SQL or importer) and mend it there, then rebuild.",
    ),
    Cause.PRECISION: Help(
        "Precision",
        "The right value lost digits, or wrapped around, in a narrower type.",
        "Widen the field's type in the feature view, apply, and materialize again.",
    ),
    Cause.UNIT: Help(
        "Unit",
        "Served and offline value are the same quantity in two units: a factor, an offset or a logarithm apart.",
        "Decide which unit the model was trained on, mend the other side, then rebuild and materialize.",
    ),
    Cause.CLIPPING: Help(
        "Clipping",
        "The right value, cut off at one end.",
        "Find the limit on the side that cuts (a `least`, a `clip`, a narrow column) and remove it or train with it.",
    ),
    Cause.WINDOW_LENGTH: Help(
        "Window length",
        "The value of another window: the same thing counted over more or less time.",
        "Compare the window in the view's SQL with what was materialized and what was trained on; rebuild.",
    ),
    Cause.SWAPPED_COLUMNS: Help(
        "Swapped columns",
        "Two features have each other's values.",
        "Look for the exchange in the view's SQL (the order of a SELECT or of field mappings), then rebuild.",
    ),
    Cause.OTHER_ROW: Help(
        "Another row",
        "The value belongs to another candidate or another user of the log.",
        "Look for where rows are put beside ids: batching, sorting or caching in the server or the client.",
    ),
    Cause.EMBEDDING_VERSION: Help(
        "Embedding version",
        "The vector is of another version, or of another length, than the one offline.",
        "Materialize the embeddings of the version that the model was trained on.",
    ),
    Cause.ONE_REPLICA: Help(
        "One replica",
        "All that differs came from one server process; the others have nothing.",
        "Take that replica out of the load balancer, then compare its bundle, image and settings with another's.",
    ),
    Cause.OFFLINE_LEAKAGE: Help(
        "Offline leakage",
        "The offline value holds what could not be known at the time of the request.",
        "Mend the SQL so that it looks only at what lies before; models trained on it must be retrained.",
    ),
    Cause.WRONG_MODEL: Help(
        "Wrong model",
        "The logged scores are not those of the bundle that the log names.",
        "Compare the bundle's files on the servers with the registry's by hash, then publish and promote again.",
    ),
    Cause.UNEXPLAINED: Help(
        "Unexplained",
        "Values differ, and no known pattern fits most of them.",
        "Replay the evidence and look at a few requests by hand: `marquee receipt REQUEST_ID` shows one whole.",
    ),
}
