"""The stages of a request, whose times an answer, the metrics and the traces tell."""

from __future__ import annotations

from ranking_service.proto import ranking_pb2

STAGES = tuple(field.name for field in ranking_pb2.StageMicros.DESCRIPTOR.fields if field.name != "total")
"""In the order in which they run."""
