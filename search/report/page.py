"""The report as HTML: one page without scripts; every text from outside is escaped here."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

STYLE = """\
:root { color-scheme: light dark; --line: #8885; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
img { max-width: 100%; height: auto; background: white; border-radius: 6px; }
figure { margin: 1.2rem 0; } figcaption { opacity: .8; font-size: .9rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; }
td, th { text-align: left; vertical-align: top; padding: .3rem .7rem .3rem 0;
  border-bottom: 1px solid var(--line); }
td.short, th { white-space: nowrap; }
pre { background: var(--soft); padding: .8rem; border-radius: 6px; overflow-x: auto; }
"""
LONGEST_SHORT_CELL = 44


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture, or the reason why there is none."""

    name: str
    """File name without suffix."""
    caption: str
    png: bytes | None
    missing: str


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table, or what to say when it has no rows."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    empty: str


def render_page(
    title: str,
    *,
    headline: Sequence[str],
    summary: Sequence[str],
    trust: Sequence[str],
    pictures: Sequence[Picture],
    grids: Sequence[Grid],
    commands: Sequence[str],
) -> str:
    """Returns the whole page; pictures are embedded, so the file can be sent alone."""
    body = [
        f"<h1>{html.escape(title)}</h1>",
        _section("Result", _bullets(headline)),
        _section("The search", _bullets(summary)),
        _section("How far trials can be trusted", _bullets(trust)),
        _section("Pictures", "\n".join(_figure(picture) for picture in pictures)),
        *(_section(grid.title, _table(grid)) for grid in grids),
        _section("Go on", f"<pre>{html.escape(chr(10).join(commands))}</pre>"),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>\n{body}\n</section>"


def _bullets(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def _figure(picture: Picture) -> str:
    caption = html.escape(picture.caption)
    if picture.png is None:
        return f"<p>{caption} Not drawn: {html.escape(picture.missing)}.</p>"
    data = base64.b64encode(picture.png).decode("ascii")
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption} File: {html.escape(picture.name)}.png</figcaption></figure>"
    )


def _table(grid: Grid) -> str:
    if not grid.rows:
        return f"<p>{html.escape(grid.empty)}</p>"
    head = "".join(f"<th>{html.escape(column)}</th>" for column in grid.columns)
    rows = "\n".join(f"<tr>{''.join(_cell(text) for text in row)}</tr>" for row in grid.rows)
    return f'<div class="wide"><table><tr>{head}</tr>\n{rows}</table></div>'


def _cell(text: str) -> str:
    opening = '<td class="short">' if len(text) <= LONGEST_SHORT_CELL else "<td>"
    return f"{opening}{html.escape(text)}</td>"
