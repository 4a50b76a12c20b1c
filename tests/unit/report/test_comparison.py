"""Tables of several encoders and tasks, for people and for machines."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from seco.errors import ConfigError, TaskError
from seco.probes.result import Row, prediction_table
from seco.report import comparison


def _row(encoder: str, value: float, **more: Any) -> dict[str, Any]:
    about = {"task": "eurosat", "probe": "linear", "metric": "accuracy", "seed": 0, "output": "features"}
    return Row(encoder=encoder, value=value, **about | more).to_json()


ROWS = [
    _row("majority", 0.11, probe="majority", output=None),
    _row("run_1 & more", 0.80, majority=0.11),
    _row("run_1 & more", 0.90, seed=1, majority=0.11),
    _row("colour", 0.70, majority=0.11),
    _row("colour", 0.5, probe="knn", shots=5, spread=0.02, num_repeats=3),
    _row("run_1 & more", 0.6, task="bigearthnet", metric="map_micro"),
]


def test_seeds_become_one_cell_and_the_best_is_marked() -> None:
    table = comparison.arrange(ROWS)
    assert table.line_names() == ["run_1 & more", "colour", "majority"]
    assert table.column_names() == [
        "eurosat linear accuracy", "eurosat knn accuracy 5-shot", "bigearthnet linear map_micro"
    ]  # fmt: skip
    run, colour, majority = table.lines
    first, few, third = table.columns
    cell = table.cells[run, first]
    assert (cell.num_seeds, cell.best) == (2, True)
    assert cell.value == pytest.approx(0.85)
    assert cell.words() == f"85.0 ± {100 * np.std([0.8, 0.9], ddof=1):.1f}"
    assert not table.cells[colour, first].best
    assert table.cells[colour, few].words() == "50.0 ± 2.0"
    assert table.cells[majority, first].words() == "11.0"
    assert (colour, third) not in table.cells


def test_values_that_read_alike_are_equally_good() -> None:
    table = comparison.arrange([_row("a", 0.80012), _row("b", 0.79991), _row("c", 0.7989)])
    assert [table.cells[line, table.columns[0]].best for line in table.lines] == [True, True, False]


def test_what_differs_is_told_apart_and_nothing_else() -> None:
    rows = [
        _row("a", 0.5, size=64), _row("a", 0.6, size=128), _row("b", 0.4, size=64), _row("b", 0.3, output="z0", size=64),
        _row("b", 0.1, protocol="paper", size=64), _row("b", 0.2, settings="num_labels=100", size=64),
    ]  # fmt: skip
    table = comparison.arrange(rows)
    assert table.line_names() == ["a size 64", "a size 128", "b", "b z0"]
    assert table.column_names() == [
        "eurosat linear accuracy default", "eurosat linear accuracy (paper protocol)",
        "eurosat linear accuracy num_labels=100",
    ]  # fmt: skip
    two = comparison.arrange(
        [_row("a", 0.5, data_fingerprint="aaaaaaaa"), _row("a", 0.5, data_fingerprint="bbbbbbbb")]
    )
    assert two.column_names() == [
        "eurosat linear accuracy data aaaaaa",
        "eurosat linear accuracy data bbbbbb",
    ]


def test_normalisation_parts_lines_only_where_it_was_swept() -> None:
    rows = [_row("a", 0.5, normalise="spec"), _row("a", 0.4, protocol="paper", normalise="paper")]
    assert comparison.arrange(rows).line_names() == ["a"]
    swept = comparison.arrange([*rows[:1], _row("a", 0.6, normalise="dataset")])
    assert swept.line_names() == ["a normalise spec", "a normalise dataset"]


def test_two_scores_for_one_thing_are_an_error() -> None:
    assert len(comparison.arrange([_row("a", 0.5), _row("a", 0.5)]).cells) == 1
    with pytest.raises(ConfigError, match=r"is there twice, as 0\.5 and 0\.6"):
        comparison.arrange([_row("a", 0.5), _row("a", 0.6)])
    with pytest.raises(ConfigError, match="only of the majority class"):
        comparison.arrange(ROWS[:1])


DIFFERENCES = [
    {"encoder": "run_1 & more", "reference": "colour", "task": "eurosat", "probe": "linear", "output": "features",
     "shots": None, "seed": 0, "value": 0.1, "ci_low": 0.05, "ci_high": 0.15},
    {"encoder": "x|y", "reference": "colour", "task": "eurosat", "probe": "knn", "output": "z0", "shots": 5, "seed": 0,
     "value": -0.01, "ci_low": -0.05, "ci_high": 0.03},
]  # fmt: skip


def test_latex_is_escaped_and_balanced() -> None:
    text = comparison.render(comparison.arrange(ROWS), DIFFERENCES, "latex")
    assert r"run\_1 \& more & \textbf{85.0 $\pm$ 7.1}" in text
    assert r"map\_micro" in text
    assert r"x\textbar{}y z0" in text
    assert r"\textbf{+10.0 (+5.0 to +15.0)}" in text
    assert "-1.0 (-5.0 to +3.0) \\\\" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    widths = {
        line.replace(r"\&", "").count("&")
        for line in text.split(r"\midrule")[1].split(r"\bottomrule")[0].splitlines()
        if line.endswith(r"\\")
    }
    assert widths == {3}
    hostile = comparison.render(comparison.arrange([_row(r"\input{x}$%#_^~", 0.5)]), [], "latex")
    assert r"\textbackslash{}input\{x\}\$\%\#\_\textasciicircum{}\textasciitilde{}" in hostile


def test_markdown_is_escaped() -> None:
    text = comparison.render(
        comparison.arrange([_row("a|b*c\n<d>", 0.5), _row("e", 0.4)]), DIFFERENCES, "markdown"
    )
    lines = text.splitlines()
    assert r"| a\|b\*c \<d\> | **50.0** |" in lines
    assert "| e | 40.0 |" in lines
    assert r"| x\|y z0 | colour | eurosat | knn | 5 | 0 | -1.0 (-5.0 to +3.0) |" in lines


def test_json_and_csv_hold_the_same_records() -> None:
    table = comparison.arrange(ROWS)
    records = json.loads(comparison.render(table, DIFFERENCES, "json"))["rows"]
    lines = list(csv.DictReader(io.StringIO(comparison.render(table, DIFFERENCES, "csv"))))
    assert len(records) == len(lines) == len(table.cells) + 2
    assert [r["encoder"] for r in records] == [line["encoder"] for line in lines]
    assert [r["kind"] for r in records].count("difference") == 2
    best = next(r for r in records if r["encoder"] == "run_1 & more" and r["task"] == "eurosat")
    assert (best["best"], best["num_seeds"], best["shots"]) == (True, 2, None)
    assert float(lines[0]["value"]) == pytest.approx(records[0]["value"])
    with pytest.raises(TaskError, match="no format 'html'"):
        comparison.render(table, [], "html")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no"),
        (b"[1]", "holds no"),
        (b"[" * 100_000, "holds no"),
        (b'{"rows": 3}', "must be a list"),
        (b'{"rows": [3]}', "must be a list"),
        (b'{"rows": []}', "no row to compare"),
        (b'{"rows": [{"encoder": "a"}]}', "row 1 lacks task, probe"),
        (b"\xff\xfe", "cannot read"),
    ],
)
def test_files_that_hold_no_scores(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        comparison.read_rows([tmp_path / "x.json"])


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for value in ('"0.5"', "NaN", "true", "null"):
        text = json.dumps({"rows": [_row("a", 0.5)]}).replace('"value": 0.5', f'"value": {value}')
        file.write_text(text)
        with pytest.raises(ConfigError, match="no finite number"):
            comparison.read_rows([file])
    with pytest.raises(ConfigError, match="cannot read"):
        comparison.read_rows([tmp_path / "nothing.json"])


def test_predictions_from_before_shots_are_read(tmp_path: Path) -> None:
    table = prediction_table(
        encoder="a", task="t", probe="knn", output="features", seed=0, row=np.arange(3), group=np.arange(3),
        truth=["x"] * 3, predicted=["x"] * 3, score=np.ones(3),
    )  # fmt: skip
    pq.write_table(table.drop_columns(["shots"]), tmp_path / "old.parquet")
    pq.write_table(table, tmp_path / "new.parquet")
    assert len(comparison.read_predictions([tmp_path / "old.parquet", tmp_path / "new.parquet"])) == 6
    pq.write_table(table.drop_columns(["truth"]), tmp_path / "old.parquet")
    with pytest.raises(ConfigError, match="cannot read predictions"):
        comparison.read_predictions([tmp_path / "old.parquet"])
