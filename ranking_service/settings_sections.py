"""The tables of `service.toml`, each with its defaults. A field's `metadata` narrows what it may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SHARE = {"share": True}
"""A number between 0 and 1."""
FROM_ZERO = {"from_zero": True}
"""0 is a value too; for most it means "not at all"."""


@dataclass(frozen=True)
class RedisSettings:
    """`[redis]`"""

    type: str = field(default="redis", metadata={"choices": ("redis", "redis_cluster", "redis_sentinel")})
    """What answers at the address, in Feast's words."""
    sentinel_master: str = "mymaster"
    """The primary's name, with `redis_sentinel`."""
    connect_seconds: float = 0.25
    """To open a connection."""
    timeout_seconds: float = 0.25
    """For reads off the request path: at the start, of layouts, of the rows that fill the cache. A request's own
    read has `budget.feature_seconds`."""
    rows: str = field(default="packed", metadata={"choices": ("packed", "stock")})
    """Whose rows are read: "packed" (Marquee's online store) or "stock" (Feast's own)."""
    connections: int = 2
    """Open to the server at a time; requests share them."""
    hedge_seconds: float = field(default=0.006, metadata=FROM_ZERO)
    """A read without an answer after this long is sent once more, on another connection; 0 never."""
    hedge_share: float = field(default=0.1, metadata=SHARE)
    """At most this share of reads is sent twice."""


@dataclass(frozen=True)
class CacheSettings:
    """`[cache]`: item rows kept in memory, current by Redis' own invalidation messages."""

    items: int = field(default=50_000, metadata=FROM_ZERO)
    """Items kept (about 1 kB each for 100 features); 0 keeps none."""
    heartbeat_seconds: float = 0.5
    """How often the invalidation channel is tried; after two silent ones nothing cached counts as current."""
    users: int = field(default=5_000, metadata=FROM_ZERO)
    """Users whose last-known rows are kept for level 1."""
    preload_seconds: float = field(default=1.0, metadata=FROM_ZERO)
    """Time spent at the start on filling the cache."""


@dataclass(frozen=True)
class BudgetSettings:
    """`[budget]`: what a stage may take of a request's time; a caller's nearer deadline shortens it."""

    request_seconds: float = 0.1
    """For a request whose caller names no deadline."""
    feature_seconds: float = 0.02
    """After which the answer is made without the views that are missing."""
    scoring_seconds: float = 0.03
    """What scoring may take; where it is expected to take longer, the order is model-free."""


@dataclass(frozen=True)
class LevelSettings:
    """`[levels]`: how far an answer may degrade before it is an error."""

    lowest: int = field(default=3, metadata={"from_zero": True, "most": 3})
    """0 complete answers only; 1 last-known rows; 2 declared defaults; 3 model-free order. Below 2 a request with one
    damaged row is refused, below 3 one that there is no room to rank."""
    last_known_seconds: float = 3_600.0
    """Rows not confirmed for longer are not used."""
    order_by: tuple[str, ...] = ()
    """Item features (last known, largest first; with a leading "-" smallest first) of the model-free order. Without
    any, or for items without, the request's order."""


@dataclass(frozen=True)
class BreakerSettings:
    """`[breaker]`: when Redis is not asked at all."""

    failures: int = 5
    """Reads failing in a row that open it."""
    failure_share: float = field(default=0.5, metadata=SHARE)
    """Share of the last reads failing that opens it ..."""
    window_reads: int = 20
    """... counted over this many."""
    failing_seconds: float = field(default=0.1, metadata=FROM_ZERO)
    """The first of these failures must be so old: reads that fail together in one short pause do not open it."""
    probe_seconds: float = 0.1
    """How often, while open, Redis is tried; one good answer closes it."""


@dataclass(frozen=True)
class AdmissionSettings:
    """`[admission]`: how many requests a worker takes at once."""

    least: int = 2
    """The adaptive limit stays at or above this ..."""
    most: int = 64
    """... and at or below this."""
    target_seconds: float = 0.05
    """Answers slower than this lower the limit, faster ones raise it."""
    queue: int = field(default=16, metadata=FROM_ZERO)
    """Requests that may wait for their turn; further ones are turned away at once."""
    backlog: int = 24
    """Calls that may wait until this worker has time to look at them at all. From half of it on, gRPC itself drops
    some, beyond it all: the caller sees CANCELLED without a word, at a third of the price of a refusal."""
    brownout_share: float = field(default=0.1, metadata={"share": True, "from_zero": True})
    """Of a worker's time for model-free answers (level 3) to interactive requests it has no room to rank; those
    beyond that are refused. 0 refuses all."""
    prefetch_share: float = field(default=0.5, metadata=SHARE)
    """Share of the limit that prefetch requests may hold."""


@dataclass(frozen=True)
class LogSettings:
    """`[log]`"""

    sample: float = field(default=1.0, metadata={"share": True, "from_zero": True})
    """Share of users whose requests are logged, 0 to 1; a user is in or out as a whole."""
    queue_requests: int = 100
    """Requests that may wait for the writer (about 1 MB each); further ones are dropped and counted."""
    batch_candidates: int = 20_000
    """Candidate rows that are written at a time; until then they are kept in memory as well."""
    segment_bytes: int = 64 * 1024 * 1024
    """A segment is closed at this size ..."""
    segment_seconds: float = 60.0
    """... or when its oldest request is this old, and only then appears. A crash loses what was not closed."""
    keep_days: float = field(default=30.0, metadata=FROM_ZERO)
    """Segments begun longer ago are deleted; 0 keeps them."""
    keep_bytes: int = field(default=0, metadata=FROM_ZERO)
    """The oldest segments are deleted while all together are larger; 0 is no limit."""


@dataclass(frozen=True)
class ShadowSettings:
    """`[shadow]`: a second bundle that scores live requests off the response path."""

    bundle: str = ""
    """A version or a folder; empty is none."""
    share: float = field(default=0.1, metadata=SHARE)
    """Of requests, chosen by user as the log's sample is."""
    queue_requests: int = 64
    """Requests that may wait to be scored a second time; further ones are dropped and counted."""


@dataclass(frozen=True)
class SecuritySettings:
    """`[security]`: secrets themselves stay in files or the environment."""

    tls_certificate: str = ""
    """PEM file of the server's certificate chain; with `tls_key` the server speaks TLS only."""
    tls_key: str = ""
    """PEM file of its key."""
    client_ca: str = ""
    """PEM file of the authority that signs clients; with it, clients must show a certificate (mTLS)."""
    tokens_file: str = ""
    """One `name:token` a line, or the environment's MARQUEE_TOKENS; with either, calls need one of them."""
    requests_per_second: float = field(default=0.0, metadata=FROM_ZERO)
    """Of one client; 0 is no limit."""
    burst_requests: int = 20
    """That a client may send at once within its limit."""
    message_bytes: int = 4 * 1024 * 1024
    """Largest message taken."""
    reflection: bool = True
    """Whether the server tells its services to tools such as grpcurl."""


@dataclass(frozen=True)
class HttpSettings:
    """`[http]`: metrics, liveness and readiness, and JSON for a quick look."""

    port: int = field(default=0, metadata={"from_zero": True, "most": 65_535})
    """0 is off."""
    host: str = "127.0.0.1"
    json: bool = True
    """Whether POST /rank answers."""


@dataclass(frozen=True)
class FeastApiSettings:
    """`[feast_api]`: Feast's own gRPC API beside the ranking, for packed rows."""

    enabled: bool = True
    entities: int = 1_000
    """Most entity rows of one request."""
    request_seconds: float = 0.5
    """For a request whose caller names no deadline."""


@dataclass(frozen=True)
class LoggingSettings:
    """`[logging]`: the server's own messages on stderr; `[log]` is the log of what was served."""

    format: str = field(default="auto", metadata={"choices": ("auto", "json", "text")})
    """"auto" is text on a terminal, else one JSON object a line."""
    level: str = field(default="info", metadata={"choices": ("debug", "info", "warning", "error")})
    slow_seconds: float = 0.1
    """A request that took longer is worth a line."""
    lines_per_second: int = 5
    """Of one kind (degraded, slow, each status); further ones are counted, and the next line says how many."""
    access: bool = False
    """Whether complete answers in time get a line each, too."""


@dataclass(frozen=True)
class TraceSettings:
    """`[traces]`: spans for OpenTelemetry; needs the extra: `pip install marquee[otel]`."""

    endpoint: str = ""
    """Where spans go, by OTLP over HTTP, such as "http://collector:4318/v1/traces"; empty is off."""
    share: float = field(default=0.01, metadata={"share": True})
    """Of requests that came without a trace of their own; a caller's own decision is followed."""


Models = Mapping[str, str]
"""`[models]`: further models by name, each a version, a folder, or "promoted"."""
