"""Bar charts as SVG, without a library: a few numbers do not need one."""

WIDTH, BAR, LEFT, TOP = 640, 26, 120, 40


def bars(title, values):
    """One horizontal bar for each name, the first one in colour."""
    highest = max(values.values()) or 1
    height = TOP + len(values) * (BAR + 10) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="22" font-size="15">{title}</text>',
    ]
    for index, (name, value) in enumerate(values.items()):
        y = TOP + index * (BAR + 10)
        length = (WIDTH - LEFT - 110) * value / highest
        colour = "#2266aa" if index == 0 else "#aab4c0"
        shown = f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 18}" text-anchor="end">{name}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{LEFT + length + 6:.1f}" y="{y + 18}">{shown}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
