"""Every error Marquee raises on purpose; each message says what, found / expected, and what to do.

MarqueeError
├── SettingError          a setting or environment variable has an unusable value
├── EventDataError        an event file is truncated, or not what it claims to be
├── MissingInputError     a step needs the result of an earlier step that is not there
├── ReportError           a skew report on disk is damaged, or of a schema that is not known here
├── FeatureError          a feature declaration, its SQL, or a built partition is wrong
│   └── FeatureSourceError  a file that features are read from is missing or damaged
├── TrainingDataError     a training set cannot be made, or would not be what it claims
├── BundleError           a model bundle is damaged, or does not fit the registry or the rows in Redis
│   └── BundleStoreError    the place that keeps bundles cannot be read or written now
├── OnlineStoreError      Redis cannot be reached in time, or answers nonsense
├── OverloadedError       more requests than the server, or a client's share of it, takes
├── ServerFault           a server failed in a way nobody foresaw; its log says how
├── TooLateError          too little of the caller's time is left to answer
└── RequestError          a ranking request is wrong; names the field
"""

from __future__ import annotations


class MarqueeError(Exception):
    """Base of all errors whose message is meant for a person."""


class SettingError(MarqueeError):
    """A setting or environment variable has an unusable value."""


class EventDataError(MarqueeError):
    """An event file is truncated, or not what it claims to be; names file and column."""


class MissingInputError(MarqueeError):
    """A step needs the result of an earlier step; names the verb that makes it."""


class ReportError(MarqueeError):
    """A skew report on disk is damaged, or of a schema that is not known here; names the field."""


class FeatureError(MarqueeError):
    """A feature declaration, its SQL, or a built partition is wrong; lists all problems at once."""


class FeatureSourceError(FeatureError):
    """A file that features are read from is missing or damaged; names it."""


class TrainingDataError(MarqueeError):
    """A training set cannot be made, or would not be what it claims."""


class BundleError(MarqueeError):
    """A model bundle is damaged, or does not fit the registry or the rows in Redis."""


class BundleStoreError(BundleError):
    """The place that keeps bundles cannot be read or written now; trying again may help."""


class OnlineStoreError(MarqueeError):
    """Redis cannot be reached in time, or answers nonsense."""


class OverloadedError(MarqueeError):
    """More requests than the server, or a client's share of it, takes."""

    def __init__(self, problem: str, *, retry_after_seconds: float) -> None:
        super().__init__(problem)
        self.retry_after_seconds = retry_after_seconds


class ServerFault(MarqueeError):
    """A server failed in a way nobody foresaw; its log says how."""


class TooLateError(MarqueeError):
    """Too little of the caller's time is left to answer."""


class RequestError(MarqueeError):
    """A ranking request is wrong.

    `field` is the name of the offending field as the proto spells it.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
