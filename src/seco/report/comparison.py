"""Several encoders and tasks in one table: read rows, arrange them, and write them for people and for machines."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seco.errors import ConfigError, TaskError
from seco.probes.result import PREDICTION_SCHEMA

COLUMN = ("task", "metric", "probe", "shots", "protocol", "settings", "data_fingerprint")
"""What rows in one column have in common."""
LINE = ("encoder", "output", "size", "normalise")
"""What rows in one line have in common."""
NEEDED = ("encoder", "task", "probe", "metric", "value", "seed")
MAJORITY = "majority"
FORMATS = ("table", "json", "csv", "markdown", "latex")
RECORD = (
    "kind", *LINE, "task", "metric", "probe", "shots", "protocol", "settings", "data_fingerprint", "seed", "value",
    "spread", "num_seeds", "ci_low", "ci_high", "best", "reference",
)  # fmt: skip
"""Columns of the CSV: a line a score, or a paired difference."""
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One encoder in one column: mean over seeds, its spread, and whether none is better (as shown, to 0.1 points)."""

    value: float
    spread: float | None
    num_seeds: int
    ci_low: float | None
    ci_high: float | None
    best: bool = False

    def words(self) -> str:
        """Return the value in percent, and the spread where there is one."""
        spread = "" if self.spread is None else f" ± {100 * self.spread:.1f}"
        return f"{100 * self.value:.1f}{spread}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """A table: `cells[line, column]`, with the fields of LINE and COLUMN as keys."""

    lines: list[tuple]
    columns: list[tuple]
    cells: dict[tuple[tuple, tuple], Cell]

    def line_names(self) -> list[str]:
        """Return short names of the lines: of their fields those that tell them apart."""
        return [_name(line, self.lines, LINE, ("output", "size", "normalise")) for line in self.lines]

    def column_names(self) -> list[str]:
        """Return short names of the columns: of their fields those that tell them apart."""
        out = []
        for column in self.columns:
            told = dict(zip(COLUMN, column, strict=True))
            words = [str(told["task"]), str(told["probe"]), str(told["metric"])]
            if told["shots"] is not None:
                words.append(f"{told['shots']}-shot")
            if told["protocol"] == "paper":
                words.append("(paper protocol)")
            same = [c for c in self.columns if c[:5] == column[:5]]
            if len({c[5] for c in same}) > 1:
                words.append(str(told["settings"] or "default"))
            if len({c[6] for c in same}) > 1:
                words.append(f"data {str(told['data_fingerprint'])[:6]}")
            out.append(" ".join(words))
        return out


def _name(key: tuple, keys: Sequence[tuple], fields: Sequence[str], more: Sequence[str]) -> str:
    told = dict(zip(fields, key, strict=True))
    words = [str(told["encoder"])]
    if told["output"] not in (None, "features"):
        words.append(str(told["output"]))
    for name in more[1:]:
        at = fields.index(name)
        if len({k[at] for k in keys if k[:2] == key[:2]}) > 1:
            words.append(f"{name} {told[name] if told[name] is not None else 'as stored'}")
    return " ".join(words)


def read_rows(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Read result rows (docs/results-schema.md) of several files.

    Raises:
        ConfigError: a file cannot be read or holds no rows of the schema.
    """
    out: list[dict[str, Any]] = []
    for file in files:
        try:
            rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
        except (OSError, UnicodeDecodeError) as err:
            raise ConfigError(f"cannot read {file}: {err}; give what `seco evaluate --json` wrote") from err
        except (ValueError, KeyError, TypeError, RecursionError) as err:
            raise ConfigError(
                f'{file} holds no {{"rows": [...]}} ({type(err).__name__}); give what `seco evaluate --json` wrote'
            ) from err
        if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
            raise ConfigError(
                f"{file}: rows must be a list of objects; give what `seco evaluate --json` wrote"
            )
        for number, row in enumerate(rows):
            missing = [n for n in NEEDED if n not in row]
            value = row.get("value")
            if (
                missing
                or isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not np.isfinite(value)
            ):
                what = f"lacks {', '.join(missing)}" if missing else f"has value {value!r}, no finite number"
                raise ConfigError(f"{file}, row {number + 1} {what}; see docs/results-schema.md")
        out += rows
    if not out:
        raise ConfigError("no row to compare; give files that `seco evaluate --json` wrote")
    return out


def arrange(rows: Sequence[Mapping[str, Any]]) -> Comparison:
    """Arrange rows in a table; rows that differ in seed alone become one cell, equal rows count once."""
    groups: dict[tuple[tuple, tuple], dict[int, Mapping[str, Any]]] = {}
    swept = _judged_in_two_normalisations(rows)
    for row in rows:
        if row["probe"] == MAJORITY:
            continue
        line = tuple(row.get(n) if n != "normalise" or row["encoder"] in swept else None for n in LINE)
        key = line, tuple(_field(row, n) for n in COLUMN)
        before = groups.setdefault(key, {}).setdefault(row["seed"], row)
        if before["value"] != row["value"]:
            raise ConfigError(
                f"{row['encoder']}, {row['task']}, {row['probe']}, {row['metric']}, seed {row['seed']} is there twice, as "
                f"{before['value']} and {row['value']}: of other weights? Give each encoder a name of its own"
            )
    if not groups:
        raise ConfigError("no row of an encoder to compare, only of the majority class")
    lines, columns = list(dict.fromkeys(k[0] for k in groups)), list(dict.fromkeys(k[1] for k in groups))
    cells = {key: _cell(list(members.values())) for key, members in groups.items()}
    for column in columns:
        there = [line for line in lines if (line, column) in cells]
        most = max(round(cells[line, column].value, 3) for line in there)
        for line in there:
            cell = cells[line, column]
            cells[line, column] = dataclasses.replace(cell, best=round(cell.value, 3) == most)
    constant = (MAJORITY, None, None, None)
    for (_, column), members in groups.items():
        known = [r["majority"] for r in members.values() if r.get("majority") is not None]
        if known and (constant, column) not in cells:
            cells[constant, column] = Cell(
                value=float(np.mean(known)), spread=None, num_seeds=len(known), ci_low=None, ci_high=None
            )
    return Comparison(
        lines=lines + [constant] * any(k[0] == constant for k in cells), columns=columns, cells=cells
    )


def _judged_in_two_normalisations(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the encoders that some column has with two normalisations: elsewhere a protocol or task has its own."""
    found: dict[tuple, set] = {}
    for row in rows:
        key = (row["encoder"], row.get("output"), row.get("size"), *(_field(row, n) for n in COLUMN))
        found.setdefault(key, set()).add(row.get("normalise"))
    return {key[0] for key, ways in found.items() if len(ways) > 1}


def _field(row: Mapping[str, Any], name: str) -> Any:
    # Rows written before there were protocols are strict.
    return row.get(name) or "strict" if name == "protocol" else row.get(name)


def _cell(rows: Sequence[Mapping[str, Any]]) -> Cell:
    values = np.array([r["value"] for r in rows], np.float64)
    one = rows[0] if len(rows) == 1 else {}
    return Cell(
        value=float(values.mean()),
        spread=float(values.std(ddof=1)) if len(values) > 1 else one.get("spread"),
        num_seeds=len(values), ci_low=one.get("ci_low"), ci_high=one.get("ci_high"),
    )  # fmt: skip


def read_predictions(files: Iterable[Path]) -> pa.Table:
    """Read the predictions of several files.

    Raises:
        ConfigError: a file cannot be read or is of another schema.
    """
    tables = []
    for file in files:
        try:
            table = pq.read_table(file)
            if "shots" not in table.column_names:
                table = table.append_column("shots", pa.nulls(len(table), pa.int64()))
            tables.append(table.select(PREDICTION_SCHEMA.names).cast(PREDICTION_SCHEMA))
        except (OSError, pa.ArrowException, KeyError, ValueError) as err:
            raise ConfigError(
                f"cannot read predictions {file}: {err}; give what `seco evaluate --predictions` wrote"
            ) from err
    return pa.concat_tables(tables)


def render(
    comparison: Comparison, differences: Sequence[Mapping[str, Any]], form: str, *, title: str = ""
) -> str:
    """Return the table, and paired differences if any, as `json`, `csv`, `markdown` or `latex`.

    Raises:
        TaskError: no such format.
    """
    if form in ("json", "csv"):
        records = [*_scores(comparison), *({"kind": "difference", **d} for d in differences)]
        plain = [{name: record.get(name) for name in RECORD} for record in records]
        if form == "json":
            return json.dumps({"rows": plain}, indent=1, ensure_ascii=False) + "\n"
        text = io.StringIO()
        writer = csv.DictWriter(text, RECORD, lineterminator="\n")
        writer.writeheader()
        writer.writerows(plain)
        return text.getvalue()
    if form not in ("markdown", "latex"):
        raise TaskError(f"no format {form!r}; known: {', '.join(FORMATS)}")
    draw = _markdown if form == "markdown" else _latex
    names = ["encoder", *comparison.column_names()]
    parts = [draw(names, _body(comparison), title or "Percent; spread over seeds or draws")]
    if differences:
        parts.append(draw(*difference_table(differences), "Paired differences, points, with 95% interval"))
    return "\n".join(parts)


def _body(comparison: Comparison) -> list[list[tuple[str, bool]]]:
    """Return the words of each line, and whether they are bold."""
    out = []
    for line, name in zip(comparison.lines, comparison.line_names(), strict=True):
        cells = [comparison.cells.get((line, column)) for column in comparison.columns]
        out.append([(name, False), *((c.words(), c.best) if c else ("-", False) for c in cells)])
    return out


def difference_table(
    differences: Sequence[Mapping[str, Any]],
) -> tuple[list[str], list[list[tuple[str, bool]]]]:
    """Return heading and lines of paired differences, bold where the interval does not hold 0."""
    head = ["encoder", "against", "task", "probe", "shots", "seed", "difference"]
    body = []
    for d in differences:
        low, high = d["ci_low"], d["ci_high"]
        sure = low is not None and (low > 0 or high < 0)
        interval = "" if low is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
        output = "" if d["output"] == "features" else f" {d['output']}"
        shots = "all" if d["shots"] is None else str(d["shots"])
        words = (f"{d['encoder']}{output}", d["reference"], d["task"], d["probe"], shots, str(d["seed"]))
        body.append([*((w, False) for w in words), (f"{100 * d['value']:+.1f}{interval}", sure)])
    return head, body


def _scores(comparison: Comparison) -> Iterable[dict[str, Any]]:
    for line in comparison.lines:
        for column in comparison.columns:
            cell = comparison.cells.get((line, column))
            if cell is not None:
                yield {
                    "kind": "score", **dict(zip(LINE, line, strict=True)), **dict(zip(COLUMN, column, strict=True)),
                    **dataclasses.asdict(cell),
                }  # fmt: skip


def _markdown(head: Sequence[str], body: Sequence[Sequence[tuple[str, bool]]], title: str) -> str:
    def safe(text: str) -> str:
        text = " ".join(text.replace("\\", "\\\\").split())
        for sign in "|*_`<>[]":
            text = text.replace(sign, f"\\{sign}")
        return text

    lines = [f"{safe(title)}", "", "| " + " | ".join(map(safe, head)) + " |", "|" + "---|" * len(head)]
    lines += [
        "| " + " | ".join(f"**{safe(t)}**" if bold else safe(t) for t, bold in line) + " |" for line in body
    ]
    return "\n".join(lines) + "\n"


def _latex(head: Sequence[str], body: Sequence[Sequence[tuple[str, bool]]], title: str) -> str:
    """Return a `tabular` with booktabs rules."""

    def safe(text: str) -> str:
        escaped = "".join(_LATEX.get(c, c) for c in " ".join(text.split()))
        return escaped.replace("±", r"$\pm$")

    lines = [f"% {' '.join(title.split())}", r"\begin{tabular}{l" + "r" * (len(head) - 1) + "}", r"\toprule"]
    lines += [" & ".join(map(safe, head)) + r" \\", r"\midrule"]
    lines += [
        " & ".join(rf"\textbf{{{safe(t)}}}" if bold else safe(t) for t, bold in line) + r" \\"
        for line in body
    ]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def print_comparison(comparison: Comparison, differences: Sequence[Mapping[str, Any]]) -> None:
    """Print the table on the terminal, the best of each column bold."""
    _print(
        ["encoder", *comparison.column_names()], _body(comparison), "percent; ± spread over seeds or draws"
    )
    if differences:
        _print(*difference_table(differences), "paired differences in points, on the very same patches")


def _print(head: Sequence[str], body: Sequence[Sequence[tuple[str, bool]]], title: str) -> None:
    import sys

    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for number, name in enumerate(head):
        table.add_column(escape(name), justify="left" if number == 0 else "right")
    terminal = sys.stdout.isatty()
    for line in body:
        # A file has no bold letters: there the best are marked.
        table.add_row(
            *[
                f"[bold]{escape(t)}[/bold]{'' if terminal else ' *'}" if bold else escape(t)
                for t, bold in line
            ]
        )
    (Console() if terminal else Console(width=200)).print(table)
