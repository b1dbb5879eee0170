"""A ranking request as the pipeline reads it: checked values, and context columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from feature_repo.columns import Column, Ragged
from feature_repo.errors import RequestError
from ranking_service.contract import Contract, Field, Scalar

NAMED_FIELDS = frozenset({"surface", "device", "request_timestamp", "session_position"})
"""Request fields with a place of their own in the proto; all others travel in `context.features`."""
LONGEST_TEXT = 1_024
"""Characters of an id, a name or a text."""
LARGEST_NUMBER = float(np.finfo(np.float32).max)
"""The model's matrix is float32."""


@dataclass(frozen=True)
class RankRequest:
    """One request; `checked` is the way to be sure that it makes sense."""

    request_id: str
    user_id: str
    candidate_ids: tuple[str, ...]
    request_timestamp: float
    """Unix seconds."""
    surface: str | None = None
    device: str | None = None
    session_position: int | None = None
    features: Mapping[str, Scalar] = field(default_factory=dict)
    """Further context features by name."""
    limit: int = 0
    """0 means all."""
    explain: bool = False

    def checked(self, contract: Contract, *, candidate_limit: int) -> RankRequest:
        """This request. Raises RequestError naming the first offending field."""
        if not self.user_id:
            raise RequestError("user_id", "is empty; name the user to rank for")
        texts = {"user_id": self.user_id, "request_id": self.request_id}
        for name, text in {**texts, "context.surface": self.surface, "context.device": self.device}.items():
            _check_length(name, text or "")
        _check_candidates(self.candidate_ids, candidate_limit)
        free = {declared.name: declared for declared in contract.request_fields}
        for name, value in self.features.items():
            _check_feature(name, value, free)
        return self

    def columns(self, contract: Contract) -> dict[str, Column]:
        """The contract's request fields at the candidates' length; what the caller left out is missing."""
        given: dict[str, Scalar | None] = {
            **self.features,
            "surface": self.surface or None,
            "device": self.device or None,
            "request_timestamp": self.request_timestamp,
            "session_position": None if self.session_position is None else float(self.session_position),
        }
        count = len(self.candidate_ids)
        return {
            declared.name: _repeated(given.get(declared.name), declared, count)
            for declared in contract.request_fields
        }


def _check_candidates(candidate_ids: tuple[str, ...], candidate_limit: int) -> None:
    if not candidate_ids:
        raise RequestError("candidate_ids", "is empty; give at least one candidate")
    if len(candidate_ids) > candidate_limit:
        raise RequestError(
            "candidate_ids",
            f"has {len(candidate_ids)} candidates, the limit is {candidate_limit}; send fewer",
        )
    if "" in candidate_ids:
        raise RequestError(f"candidate_ids[{candidate_ids.index('')}]", "is empty; leave it out")
    if max(map(len, candidate_ids)) > LONGEST_TEXT:
        for index, candidate in enumerate(candidate_ids):
            _check_length(f"candidate_ids[{index}]", candidate)
    if len(set(candidate_ids)) < len(candidate_ids):
        seen: set[str] = set()
        for index, candidate in enumerate(candidate_ids):
            if candidate in seen:
                raise RequestError(
                    f"candidate_ids[{index}]", f"repeats {candidate!r}; send each candidate once"
                )
            seen.add(candidate)


def _check_length(where: str, text: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise RequestError(
            where, f"has {len(text)} characters, the limit is {LONGEST_TEXT}; send a shorter one"
        )


def _check_feature(name: str, value: Scalar, declared: Mapping[str, Field]) -> None:
    _check_length("context.features", name)
    where = f'context.features["{name}"]'
    if name in NAMED_FIELDS:
        raise RequestError(where, "has a field of its own in `context`; set it there")
    if name not in declared:
        others = sorted(declared.keys() - NAMED_FIELDS)
        raise RequestError(
            where, f"is no context feature of this model; it knows {', '.join(others) or 'none'}"
        )
    if declared[name].is_text != isinstance(value, str):
        raise RequestError(where, f"must be a {'text' if declared[name].is_text else 'number'}, is {value!r}")
    if isinstance(value, str):
        _check_length(where, value)
    elif not math.isfinite(value) or abs(value) > LARGEST_NUMBER:
        raise RequestError(where, f"is {value}; send a finite number that float32 can hold, or leave it out")


def _repeated(value: Scalar | None, declared: Field, count: int) -> Column:
    if declared.is_list:
        return Ragged.from_lists([()] * count)
    if declared.is_text:
        return np.full(count, value, object)
    return np.full(count, np.nan if value is None else value, np.float64)
