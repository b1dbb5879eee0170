"""One view's packed rows, as a contract describes them."""

from __future__ import annotations

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.batched_fetch import FetchedView
from materialization.data_plane.rows.layout import Layout
from ranking_service.contract import ViewPlan


def layout_of(view: ViewPlan) -> Layout:
    """Of the view's packed rows."""
    return Layout.of((field.name, field.value_type) for field in view.fields)


def check_types(view: ViewPlan, found: FetchedView) -> None:
    """Raises OnlineStoreError naming a feature that is stored as another type than declared."""
    for box in found.rows.boxes():
        wrong = view.fields[box.column]
        raise OnlineStoreError(
            f"feature {view.name}:{wrong.name} is {wrong.value_type} in the contract, but Redis holds a value of "
            "another type; materialize the view again"
        )
