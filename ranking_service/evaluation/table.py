"""An evaluation as a table for a person."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table

from ranking_service.evaluation.evaluate import METRICS, Interval
from ranking_service.evaluation.judge import Evaluation

HEADINGS = {
    "auc": "AUC",
    "gauc_user": "GAUC\nuser",
    "gauc_user_day": "GAUC\nuser-day",
    "ndcg@10": "NDCG\n@10",
    "precision@5": "prec.\n@5",
    "recall@10": "recall\n@10",
}


def render(evaluation: Evaluation) -> RenderableType:
    """Every ranker's metrics with 95 % intervals, and how far the scores can be taken as probabilities."""
    table = Table(
        title=f"{evaluation.version}: {evaluation.label}, {evaluation.features} features, "
        f"{evaluation.start[:10]} to {evaluation.end[:10]}, "
        f"{evaluation.rows:,} exposures of {evaluation.users:,} users",
        caption=f"± half the 95 % interval by resampling users; lists: (user, UTC day) of 5 or more with both labels, "
        f"{evaluation.lists:,} of them",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("ranker")
    for metric in METRICS:
        table.add_column(HEADINGS[metric], justify="right")
    for ranker, figures in evaluation.report.items():
        table.add_row(
            ranker,
            *(_cell(figures[metric]) for metric in METRICS),
            style="bold" if ranker == "model" else None,
        )
    if evaluation.calibration is None:
        return table
    error = evaluation.calibration["expected_calibration_error"]
    return Group(
        table, f"expected calibration error {error:.4f} (mean distance of predicted and observed rate)"
    )


def _cell(interval: Interval) -> str:
    return f"{interval.value:.4f}\n[dim]±{(interval.high - interval.low) / 2:.4f}[/dim]"
