"""Where views read: one folder of parquet partitions per batch view, and the request itself."""

from __future__ import annotations

from feast import Field, FileSource, RequestSource
from feast.data_format import ParquetFormat
from feast.types import Float64, String

from feature_repo.workspace import Workspace


def built(view: str) -> FileSource:
    """What `marquee features build` writes for `view`."""
    return FileSource(
        name=f"{view}_built",
        path=str(Workspace.from_environment().feature_path(view) / "*" / "*.parquet"),
        file_format=ParquetFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
        description=f"Snapshots of {view}, computed by sql/{view}.sql.",
    )


request = RequestSource(
    name="request",
    description="What the caller of Rank supplies.",
    schema=[
        Field(
            name="surface",
            dtype=String,
            description="page, row or tab the ranking is for",
            tags={"default": ""},
        ),
        Field(name="device", dtype=String, description="tv, phone, tablet, web ...", tags={"default": ""}),
        Field(
            name="request_timestamp",
            dtype=Float64,
            description="instant of the request, Unix seconds",
            tags={"default": "nan"},
        ),
        Field(
            name="session_position",
            dtype=Float64,
            description="exposures of this visit before the request",
            tags={"default": "nan"},
        ),
    ],
)
