"""The chart of `nox -s bench -- core --chart`: an SVG that reads well on light and dark pages."""

from __future__ import annotations

from html import escape
from typing import Any

WIDTH, LEFT, BAR, GAP, RIGHT = 760, 245, 15, 12, 150
TOP, TITLE = 64, 40  # of the first panel; of each panel
NAMES = {"prefill": "prefill, 512 tokens", "decode": "decode", "together": "decode, 8 sequences"}
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .small { font-size: 12px; fill: #59636e }
.ours { fill: #1a7f5a } .peer { fill: #9aa4af }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9da7b3 }
  .ours { fill: #3fb68b } .peer { fill: #656d76 }
}
"""


def draw(figures: dict[str, Any], ours: str, peer: str) -> str:
    """Return an SVG: a panel per encoding, two bars of tokens per second per case."""
    rows = figures["results"]
    machine = figures["machine"]
    body = [
        _text(16, 24, "Tokens per second, more is better", "title"),
        _text(
            16, 44, f"1.1B Llama shape on {machine['processor']}, {machine['threads']} processors"
        ),
        *_legend(ours, peer),
    ]
    y = TOP
    for encoding in dict.fromkeys(row["encoding"] for row in rows):
        panel = [row for row in rows if row["encoding"] == encoding]
        most = max(max(row["tokens_per_second"].values()) for row in panel)
        body.append(_text(16, y + 26, encoding, "title"))
        y += TITLE
        for row in panel:
            body += _case(row, y, most, ours, peer)
            y += 2 * BAR + GAP
    height = y + 8
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="Tokens per second of {escape(ours)} and {escape(peer)}">'
    )
    return "\n".join([head, f"<style>{STYLE}</style>", *body, "</svg>"]) + "\n"


def _legend(ours: str, peer: str) -> list[str]:
    return [
        f'<rect class="ours" x="{WIDTH - 210}" y="13" width="13" height="13" rx="2"/>',
        _text(WIDTH - 191, 24, ours),
        f'<rect class="peer" x="{WIDTH - 110}" y="13" width="13" height="13" rx="2"/>',
        _text(WIDTH - 91, 24, peer),
    ]


def _case(row: dict[str, Any], y: int, most: float, ours: str, peer: str) -> list[str]:
    threads = f"{row['threads']} thread" + "s" * (row["threads"] > 1)
    label = f"{NAMES[row['case']]}, {threads}"
    parts = [f'<text x="{LEFT - 10}" y="{y + BAR + 4}" text-anchor="end">{escape(label)}</text>']
    speeds = row["tokens_per_second"]
    for i, (kind, name) in enumerate((("ours", ours), ("peer", peer))):
        if name not in speeds:
            continue
        width = (WIDTH - LEFT - RIGHT) * speeds[name] / most
        top = y + i * BAR
        parts.append(
            f'<rect class="{kind}" x="{LEFT}" y="{top}" width="{width:.1f}" height="{BAR - 2}"/>'
        )
        ratio = f" ({speeds[ours] / speeds[peer]:.2f} times)" if i == 0 and peer in speeds else ""
        parts.append(_text(LEFT + width + 6, top + 11, f"{speeds[name]:.1f}{ratio}", "small"))
    return parts


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    cls = f' class="{kind}"' if kind else ""
    return f'<text{cls} x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>'
