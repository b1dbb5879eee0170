"""Causes on the way from stored values to the model's matrix: the values agree, what was made of them does not."""

from __future__ import annotations

import numpy as np

from ranking_service.transform_code import changed_transforms
from skew_checks.causes.case import LEAST_DIFFERENT, Case, Seen, different, share_told
from skew_checks.figures.hours import missing
from skew_checks.judging.compare import FLOAT32, differ, inputs_differ


def assembly(case: Case) -> Seen | None:
    """A model column holds what belongs in another one."""
    if not case.subject.is_model_column:
        return None
    carried = case.evidence.carried[case.rows]
    served = np.asarray(case.served, np.float32)
    spread = np.repeat(served[:, None], carried.shape[1], axis=1)
    is_other = ~inputs_differ(spread, carried, np.full(carried.shape[1], FLOAT32))
    is_other[:, case.subject.column] = False
    is_other[np.isnan(served)] = False
    best = int(is_other.sum(axis=0).argmax())
    explained = is_other[:, best]
    right = np.asarray(case.right)
    if max(different(served[explained]), different(right[explained])) < LEAST_DIFFERENT:
        return None
    name = case.evidence.judge.contract.feature_names[best]
    return Seen(explained, (f"the column holds {name} in {share_told(explained)} mismatches",))


def category_dictionary(case: Case) -> Seen | None:
    """The same text, another code."""
    if not (case.subject.is_model_column and case.field.is_text):
        return None
    raw = case.evidence.served.get(case.subject.feature)
    known = np.ones(len(case), bool) if raw is None else ~missing(raw)[case.rows]
    if not known.any():
        return None
    served, right = (np.asarray(side, np.float64) for side in (case.served, case.right))
    steps = (served - right)[known]
    facts = [f"stored texts agree, codes differ in {share_told(known)} mismatches"]
    if len(steps) and np.ptp(steps) == 0:
        facts.append(f"every code is {steps[0]:+g} off")
    if np.isnan(right[known]).all():
        facts.append("texts that the bundle's dictionary does not have were given codes")
    return Seen(known, tuple(facts))


def transform_code(case: Case) -> Seen | None:
    """The transform runs other code than the model was trained on."""
    changed = changed_transforms(case.evidence.judge.bundle.contract)
    if not case.subject.is_model_column or case.subject.view not in changed:
        return None
    return Seen(
        np.ones(len(case), bool), (f"{case.subject.view} runs other code than the model was trained on",)
    )


def transform_inputs(case: Case) -> Seen | None:
    """What is computed at request time is not what replay computes of the same stored values; nothing else fits."""
    if not case.subject.is_model_column or case.subject.view not in case.evidence.transforms:
        return None
    told = f"{case.subject.view} gave another result in {len(case)} mismatches, of stored values that agree"
    return Seen(np.ones(len(case), bool), (told,))


def stayed_missing(case: Case) -> Seen | None:
    """A model column is missing although its stored value is there."""
    if not case.subject.is_model_column:
        return None
    served, right = (np.asarray(side, np.float64) for side in (case.served, case.right))
    gone = np.isnan(served) & ~np.isnan(right) & differ(served, right)
    return (
        Seen(gone, (f"missing where there is a value in {share_told(gone)} mismatches",))
        if gone.any()
        else None
    )
