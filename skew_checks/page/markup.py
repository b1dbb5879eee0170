"""HTML and SVG as values: a text is always escaped, only what `tag` made is markup."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

VOID = frozenset({"meta", "link", "br", "hr", "input", "col", "wbr"})
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""What a browser drops or replaces, and lone surrogates, which no file can hold."""
NEEDS_BREAK = re.compile(r"(?<=_)(?=[^\s_])|(?<=[/:=.,])(?=[^\s\d/:=.,])")


@dataclass(frozen=True)
class Html:
    """Markup that needs no further escaping; made by the functions of this module only."""

    text: str

    def __str__(self) -> str:
        return self.text


Child: TypeAlias = "Html | str | int | float | Iterable[Child] | None"
Attribute = str | int | float | bool | None


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Html:
    """One element. A trailing or inner underscore of an attribute's name is taken off or made a dash.

    None and False leave an attribute out, True writes it without a value. Names come from our own code; texts and
    values may come from anywhere.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(children).text}</{name}>")


def joined(children: Child) -> Html:
    """Several children as one, nothing between them; None is nothing."""
    if children is None:
        return Html("")
    if isinstance(children, Html):
        return children
    if isinstance(children, (str, int, float)):
        return Html(escape(_clean(str(children)), quote=False))
    return Html("".join(joined(child).text for child in children))


def breakable(text: str) -> Html:
    """A long name that may wrap after an underscore, dot, slash, colon, comma or equals sign."""
    return Html("<wbr>".join(escape(part, quote=False) for part in NEEDS_BREAK.split(_clean(text))))


def trusted(text: str) -> Html:
    """Our own style sheet or script, as it is."""
    return Html(text)


def figure(value: float) -> str:
    """A coordinate: a tenth of a pixel is enough. Raises ValueError for what is no number."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no coordinate")
    return f"{value:.1f}".removesuffix(".0")


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-").replace("viewbox", "viewBox")
    if value is True:
        return f" {name}"
    text = figure(value) if isinstance(value, float) else _clean(str(value))
    return f' {name}="{escape(text)}"'


def _clean(text: str) -> str:
    return CONTROL.sub("�", text)
