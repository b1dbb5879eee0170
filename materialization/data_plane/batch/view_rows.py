"""What it takes to make and write the rows of one Feast view."""

from __future__ import annotations

from dataclasses import dataclass

from feast import FeatureView, RepoConfig

from materialization.data_plane.online.writing import RowWriter
from materialization.data_plane.online_store import PackedRedisOnlineStore
from materialization.data_plane.rows.layout import Column
from materialization.data_plane.rows.row_making import RowMaker
from materialization.data_plane.rows.view_layout import key_types, layout_of


@dataclass(frozen=True)
class ViewRows:
    """The two halves of the way into Redis."""

    maker: RowMaker
    writer: RowWriter


def view_rows(config: RepoConfig, online_store: PackedRedisOnlineStore, view: FeatureView) -> ViewRows:
    """As the online store would write them; connects to nothing yet."""
    writer = online_store.writer(config, view)
    types = key_types(view)
    entities = tuple(Column(name, types[name]) for name in writer.keys.join_keys)
    return ViewRows(RowMaker(layout_of(view), writer.keys, entities), writer)
