"""Charts as SVG, without a library: bars and lines are all there is to draw. They are read in light and in dark."""

import math
from xml.sax.saxutils import escape

WIDTH = 720
STYLE = """<style>
.back { fill: #ffffff } text { fill: #24292f; font: 13px sans-serif } .title { font-size: 15px; font-weight: 600 }
.small { font-size: 11px } .ours { fill: #0969da } .ceiling { fill: #9aa4af } .other { fill: #c6773c }
.axis { stroke: #8c959f; stroke-width: 1 } .grid { stroke: #8c959f; stroke-width: 1; opacity: .25 }
.line { fill: none; stroke-width: 2.5 } .s0 { stroke: #0969da; fill: #0969da } .s1 { stroke: #c6773c; fill: #c6773c }
.s2 { stroke: #8250df; fill: #8250df } .known { stroke-dasharray: 6 5 }
@media (prefers-color-scheme: dark) {
.back { fill: #0d1117 } text { fill: #e6edf3 } .ours { fill: #58a6ff } .ceiling { fill: #6e7681 } .other { fill: #e0965c }
.s0 { stroke: #58a6ff; fill: #58a6ff } .s1 { stroke: #e0965c; fill: #e0965c } .s2 { stroke: #bc8cff; fill: #bc8cff } }
</style>"""


def bars(title, unit, rows):
    """One bar for each (name, value, class); longer is more."""
    left, bar, top = 170, 22, 62
    height = top + len(rows) * (bar + 8) + 12
    highest = max((value for _, value, _ in rows), default=0) or 1
    parts = [*head(height, title), f'<text class="small" x="{left}" y="50">{escape(unit)}</text>']
    for index, (name, value, kind) in enumerate(rows):
        y = top + index * (bar + 8)
        length = (WIDTH - left - 100) * value / highest
        parts += [
            f'<text x="{left - 10}" y="{y + 16}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{left}" y="{y}" width="{max(length, 1):.1f}" height="{bar}" rx="2"/>',
            f'<text x="{left + length + 8:.1f}" y="{y + 16}">{number(value)}</text>',
        ]
    return end(parts)


def lines(title, across, up, series):
    """Curves over a logarithmic scale; each is (name, [(x, y), …], dashed). Nothing hides below zero."""
    left, right, top, bottom, height = 70, 50, 76, 62, 420
    xs = sorted({x for _, points, _ in series for x, _ in points})
    highest = nice(max(y for _, points, _ in series for _, y in points))
    # None of something has a place of its own, a step before one.
    place = {x: math.log10(x) if x > 0 else -1 for x in xs}
    low, high = min(place.values()), max(place.values())
    at_x = lambda x: left + (WIDTH - left - right) * (place[x] - low) / ((high - low) or 1)
    at_y = lambda y: height - bottom - (height - bottom - top) * y / highest
    parts = [*head(height, title), f'<text class="small" x="{left}" y="{top - 10}">{escape(up)}</text>']
    for step in range(5):
        y = highest * step / 4
        parts += [
            f'<line class="grid" x1="{left}" x2="{WIDTH - right}" y1="{at_y(y):.1f}" y2="{at_y(y):.1f}"/>',
            f'<text class="small" x="{left - 8}" y="{at_y(y) + 4:.1f}" text-anchor="end">{number(y)}</text>',
        ]
    for x in xs:
        parts.append(
            f'<text class="small" x="{at_x(x):.1f}" y="{height - bottom + 18}" text-anchor="middle">{x:,}</text>'
        )
    parts.append(
        f'<text class="small" x="{(WIDTH + left) / 2}" y="{height - 22}" text-anchor="middle">{escape(across)}</text>'
    )
    for index, (name, points, dashed) in enumerate(series):
        points = sorted(points)
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)
        known = " known" if dashed else ""
        parts.append(f'<polyline class="line s{index}{known}" style="fill:none" points="{path}"/>')
        parts += [f'<circle class="s{index}" cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="4"/>' for x, y in points]
        x = left + index * 215
        parts += [
            f'<line class="line s{index}{known}" x1="{x}" x2="{x + 24}" y1="44" y2="44"/>',
            f'<text class="small" x="{x + 30}" y="48">{escape(name)}</text>',
        ]
    return end(parts)


def head(height, title):
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        STYLE,
        f'<rect class="back" width="{WIDTH}" height="{height}" rx="6"/>',
        f'<text class="title" x="16" y="27">{escape(title)}</text>',
    ]


def end(parts):
    return "\n".join([*parts, "</svg>", ""])


def number(value):
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def nice(value):
    """The next number that four steps divide well."""
    power = 10 ** math.floor(math.log10(value or 1))
    return next(power * step for step in (1, 2, 4, 6, 8, 10) if power * step >= value)
