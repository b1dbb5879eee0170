import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_INTERACTIVE: _ClassVar[Priority]
    PRIORITY_PREFETCH: _ClassVar[Priority]
PRIORITY_UNSPECIFIED: Priority
PRIORITY_INTERACTIVE: Priority
PRIORITY_PREFETCH: Priority

class RankManyRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[RankRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[RankRequest, _Mapping]]] = ...) -> None: ...

class RankManyResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[RankResult]
    def __init__(self, results: _Optional[_Iterable[_Union[RankResult, _Mapping]]] = ...) -> None: ...

class RankResult(_message.Message):
    __slots__ = ("request_id", "response", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: RankResponse
    error: RankError
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[RankResponse, _Mapping]] = ..., error: _Optional[_Union[RankError, _Mapping]] = ...) -> None: ...

class RankError(_message.Message):
    __slots__ = ("code", "message", "retry_after_millis")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MILLIS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    retry_after_millis: int
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., retry_after_millis: _Optional[int] = ...) -> None: ...

class RankRequest(_message.Message):
    __slots__ = ("request_id", "user_id", "candidate_ids", "context", "limit", "explain", "model", "priority")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_IDS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    user_id: str
    candidate_ids: _containers.RepeatedScalarFieldContainer[str]
    context: Context
    limit: int
    explain: bool
    model: str
    priority: Priority
    def __init__(self, request_id: _Optional[str] = ..., user_id: _Optional[str] = ..., candidate_ids: _Optional[_Iterable[str]] = ..., context: _Optional[_Union[Context, _Mapping]] = ..., limit: _Optional[int] = ..., explain: _Optional[bool] = ..., model: _Optional[str] = ..., priority: _Optional[_Union[Priority, str]] = ...) -> None: ...

class Context(_message.Message):
    __slots__ = ("surface", "device", "request_time", "session_position", "features")
    class FeaturesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: ContextValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[ContextValue, _Mapping]] = ...) -> None: ...
    SURFACE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TIME_FIELD_NUMBER: _ClassVar[int]
    SESSION_POSITION_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    surface: str
    device: str
    request_time: _timestamp_pb2.Timestamp
    session_position: int
    features: _containers.MessageMap[str, ContextValue]
    def __init__(self, surface: _Optional[str] = ..., device: _Optional[str] = ..., request_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., session_position: _Optional[int] = ..., features: _Optional[_Mapping[str, ContextValue]] = ...) -> None: ...

class ContextValue(_message.Message):
    __slots__ = ("number", "text")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    number: float
    text: str
    def __init__(self, number: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...

class RankResponse(_message.Message):
    __slots__ = ("request_id", "items", "bundle_version", "level", "micros", "incomplete_candidates", "missing_by_view", "model", "degraded_views", "reason", "cached_candidates", "explanation_skipped", "without_room", "worker")
    class MissingByViewEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    MICROS_FIELD_NUMBER: _ClassVar[int]
    INCOMPLETE_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    MISSING_BY_VIEW_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_VIEWS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CACHED_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_ROOM_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    items: _containers.RepeatedCompositeFieldContainer[RankedItem]
    bundle_version: str
    level: int
    micros: StageMicros
    incomplete_candidates: int
    missing_by_view: _containers.ScalarMap[str, int]
    model: str
    degraded_views: _containers.RepeatedCompositeFieldContainer[DegradedView]
    reason: str
    cached_candidates: int
    explanation_skipped: bool
    without_room: bool
    worker: int
    def __init__(self, request_id: _Optional[str] = ..., items: _Optional[_Iterable[_Union[RankedItem, _Mapping]]] = ..., bundle_version: _Optional[str] = ..., level: _Optional[int] = ..., micros: _Optional[_Union[StageMicros, _Mapping]] = ..., incomplete_candidates: _Optional[int] = ..., missing_by_view: _Optional[_Mapping[str, int]] = ..., model: _Optional[str] = ..., degraded_views: _Optional[_Iterable[_Union[DegradedView, _Mapping]]] = ..., reason: _Optional[str] = ..., cached_candidates: _Optional[int] = ..., explanation_skipped: _Optional[bool] = ..., without_room: _Optional[bool] = ..., worker: _Optional[int] = ...) -> None: ...

class DegradedView(_message.Message):
    __slots__ = ("view", "level", "last_known_candidates", "oldest_seconds")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    LAST_KNOWN_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    OLDEST_SECONDS_FIELD_NUMBER: _ClassVar[int]
    view: str
    level: int
    last_known_candidates: int
    oldest_seconds: float
    def __init__(self, view: _Optional[str] = ..., level: _Optional[int] = ..., last_known_candidates: _Optional[int] = ..., oldest_seconds: _Optional[float] = ...) -> None: ...

class RankedItem(_message.Message):
    __slots__ = ("item_id", "score", "rank", "explanation")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    score: float
    rank: int
    explanation: Explanation
    def __init__(self, item_id: _Optional[str] = ..., score: _Optional[float] = ..., rank: _Optional[int] = ..., explanation: _Optional[_Union[Explanation, _Mapping]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("margin", "base", "top", "others")
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    margin: float
    base: float
    top: _containers.RepeatedCompositeFieldContainer[Contribution]
    others: float
    def __init__(self, margin: _Optional[float] = ..., base: _Optional[float] = ..., top: _Optional[_Iterable[_Union[Contribution, _Mapping]]] = ..., others: _Optional[float] = ...) -> None: ...

class Contribution(_message.Message):
    __slots__ = ("feature", "description", "contribution", "value", "category")
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    feature: str
    description: str
    contribution: float
    value: float
    category: str
    def __init__(self, feature: _Optional[str] = ..., description: _Optional[str] = ..., contribution: _Optional[float] = ..., value: _Optional[float] = ..., category: _Optional[str] = ...) -> None: ...

class StageMicros(_message.Message):
    __slots__ = ("queue", "decode", "fetch", "wait", "assemble", "score", "order", "explain", "total")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    DECODE_FIELD_NUMBER: _ClassVar[int]
    FETCH_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    ASSEMBLE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    queue: int
    decode: int
    fetch: int
    wait: int
    assemble: int
    score: int
    order: int
    explain: int
    total: int
    def __init__(self, queue: _Optional[int] = ..., decode: _Optional[int] = ..., fetch: _Optional[int] = ..., wait: _Optional[int] = ..., assemble: _Optional[int] = ..., score: _Optional[int] = ..., order: _Optional[int] = ..., explain: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...
