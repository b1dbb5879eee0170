"""The reliability diagram: predicted against observed rates, as a self-contained SVG."""

from __future__ import annotations

from html import escape

SIZE = 360
MARGIN = 48


def reliability_figure(bins: list[dict[str, float]], *, label: str) -> str:
    """Points of equal row counts; on the diagonal a score means what it says."""
    top = max(max(part["predicted"], part["observed"]) for part in bins) * 1.05 or 1.0
    points = [(_x(part["predicted"], top), _y(part["observed"], top)) for part in bins]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{part["rows"]:,.0f} rows: predicted '
        f"{part['predicted']:.4f}, observed {part['observed']:.4f}</title></circle>"
        for (x, y), part in zip(points, bins, strict=True)
    )
    ticks = "".join(_tick(top * step / 4, top) for step in range(5))
    box = f'viewBox="0 0 {SIZE} {SIZE}" font-family="sans-serif" font-size="11"'
    turned = f'text-anchor="middle" transform="rotate(-90 14 {SIZE / 2})"'
    return f"""<svg xmlns="http://www.w3.org/2000/svg" {box}>
<rect width="{SIZE}" height="{SIZE}" fill="white"/>
<line x1="{_x(0, top)}" y1="{_y(0, top)}" x2="{_x(top, top)}" y2="{_y(top, top)}" stroke="#999" stroke-dasharray="4"/>
{ticks}
<polyline points="{path}" fill="none" stroke="#1f6feb" stroke-width="1.5"/>
<g fill="#1f6feb">{dots}</g>
<text x="{SIZE / 2}" y="{SIZE - 8}" text-anchor="middle">mean predicted probability</text>
<text x="14" y="{SIZE / 2}" {turned}>observed rate of {escape(label)}</text>
</svg>
"""


def _tick(value: float, top: float) -> str:
    return (
        f'<text x="{_x(value, top):.1f}" y="{SIZE - MARGIN + 16}" text-anchor="middle">{value:.2f}</text>'
        f'<text x="{MARGIN - 6}" y="{_y(value, top) + 4:.1f}" text-anchor="end">{value:.2f}</text>'
    )


def _x(value: float, top: float) -> float:
    return MARGIN + (SIZE - MARGIN - 16) * value / top


def _y(value: float, top: float) -> float:
    return (SIZE - MARGIN) - (SIZE - MARGIN - 16) * value / top
