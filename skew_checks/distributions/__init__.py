"""Distributions without false alarms: what was served against replay, against training, and against the day before.

How a check calls it, for each bundle of the window:

    counter = DriftCounter.of(bundle, contract)      # the judging contract: features in the booster's order
    for served, start in replayed.parts():
        counter.add(Part.of(served, offline_input=expected, slices=slices))
    found: tuple[Drift, ...] = counter.finish(previous=path_or_none, earlier=reports)
    notes: tuple[str, ...] = counter.notes
    counter.write(path)                              # tonight's counts: `previous` of the next night

`Part.of(served: Served, *, offline_input: float32 [rows, features] | None, slices: Mapping[str, text [requests]])`.
`slices` are dimensions beside "surface" and "device", which come from the log: "country", "user age", "replica",
"hour". Where a served row lags legitimately, `offline_input` has the served value, so that it is no difference.

`DriftCounter.of(bundle, contract, *, settings: DriftSettings = DriftSettings())`; counters of hours or replicas of
the same bundle are added up with `counter.merge(other)`.

`finish(*, previous: Path | None = None, earlier: Sequence[Mapping[str, Any]] = ())`: `previous` is a file that
`write` made for the night before (another bundle's, or none: no day-against-day comparison, said in `notes`);
`earlier` are the JSON reports of the two nights before, newest first (`skew_checks.formats.report_json.to_json`), for
"two of three nights".

Every feature gives one `Drift` for each of "replayed", "training" and "previous day" that could be compared, the
good ones included; the report keeps those that are not ok. All features together give one more, "(all features)".
Status of "replayed" may be FAIL: that is skew. Status of the others is WARN at most: drift alone is news. Their
tests' own status says FAIL where a test is past three times its tolerance, or past it in two of three nights.
INSUFFICIENT is neither ok nor a failure: no baseline in the bundle, or too few requests, users or items to have
seen a failure.
"""

from skew_checks.distributions.counter import DriftCounter
from skew_checks.distributions.part import Part
from skew_checks.distributions.settings import DriftSettings

__all__ = ["DriftCounter", "DriftSettings", "Part"]
