"""Drawings as inline SVG whose colours are the page's own variables.

Matplotlib draws with stand-in colours; afterwards they become CSS variables, so that one drawing serves light, dark
and print. Text stays text. The same input gives the same bytes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure

COLOURS = {
    "ink": "#010203", "muted": "#020304", "grid": "#030405", "card": "#040506", "chance": "#050607", "good": "#060708",
    "bad": "#070809", "unsure": "#08090a", "s1": "#110203", "s2": "#120203", "s3": "#130203", "s4": "#140203",
    "p1": "#210203", "p2": "#220203", "p3": "#230203", "p4": "#240203",
}  # fmt: skip
STYLE: Any = {
    "svg.fonttype": "none", "font.family": "DejaVu Sans", "font.size": 8.5, "path.simplify": True,
    "text.parse_math": False,
    "axes.edgecolor": COLOURS["grid"], "axes.labelcolor": COLOURS["muted"], "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["muted"], "ytick.color": COLOURS["muted"], "axes.spines.top": False,
    "axes.spines.right": False, "axes.spines.left": False, "xtick.major.size": 0, "ytick.major.size": 0,
    "xtick.minor.size": 0, "grid.color": COLOURS["grid"], "grid.linewidth": 0.7, "axes.axisbelow": True,
}  # fmt: skip


@contextmanager
def drawing() -> Iterator[None]:
    """Our style, and no complaint about letters the drawing font lacks: the page's own fonts show them."""
    with warnings.catch_warnings(), matplotlib.rc_context(STYLE):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def svg_of(figure: Figure, key: str) -> str:
    """The drawing without its own size, fonts, colours and idle ids; clip paths keep ids salted by the key."""
    target = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": f"seedbed-{key}"}):
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = target.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    opening = rf'<svg viewBox="\1" role="img" aria-labelledby="{key}-title">'
    svg = re.sub(r'<svg [^>]*viewBox="([^"]+)"[^>]*>', opening, svg, count=1)
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r"font: (?:(bold|\d+) )?([\d.]+px) [^;\"]*", _font, svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r"\n\s*", "\n", svg)
    for name, stand_in in COLOURS.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    return svg.strip()


def _font(found: re.Match[str]) -> str:
    weight = f"; font-weight: {found[1]}" if found[1] else ""
    return f"font-size: {found[2]}{weight}"
