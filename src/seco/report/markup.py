"""Markup that is safe by construction: plain text is escaped on its way in, and only `Html` is not."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Union

Child = Union[str, "Html", int, float, None]

VOID = ("img", "meta", "input", "br")


class Html(str):
    """Text that is markup already. Nothing but the functions of this module makes it from data."""

    __slots__ = ()


def clean(value: object) -> str:
    """Return text that UTF-8 can hold: paths may carry bytes that are none, terminals' control characters too."""
    text = str(value)
    with suppress(UnicodeEncodeError):  # half a character, from JSON or YAML, which is not printable
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)


def escape(value: object) -> Html:
    """Return text as markup that shows it; markup as it is."""
    return value if isinstance(value, Html) else Html(html.escape(clean(value)))


def join(parts: Iterable[Child], between: str = "") -> Html:
    """Put pieces together, escaping those that are plain text and leaving out None."""
    return Html(str(escape(between)).join(str(escape(p)) for p in parts if p is not None))


def element(name: str, *children: Child, **attributes: str | float | None) -> Html:
    """Return an element. An attribute of None is left out; `class_` and `data_x` lose and turn their underscore."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = join(children)
    return Html(f"<{name}{told}>" if name in VOID else f"<{name}{told}>{inner}</{name}>")


def as_json(value: Any) -> Html:
    """Return JSON that can stand inside a script element: nothing in it can end that element or open a comment.

    Numbers that are not finite, which JSON does not have, are null.
    """
    text = json.dumps(
        _plain(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"), sort_keys=True
    )
    return Html(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {clean(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return clean(value) if isinstance(value, str) else value


def percent(value: float, digits: int = 1) -> str:
    """Return a share 0-1 in percent."""
    return f"{100 * value:.{digits}f}%"


def count(num: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: `1 place`, `1,200 places`."""
    return f"{num:,} {one if num == 1 else many or one + 's'}"
