"""The examples of docs/planet-scenes.md are run."""

import re
import shlex
from pathlib import Path

import pytest

from seco import cli
from seco.cli import COMMANDS

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "planet-scenes.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("line", [x for b in blocks("sh") for x in b.splitlines() if x.startswith("seco ")])
def test_every_command_shown_exists_with_its_flags(line, capsys):
    words = shlex.split(line, comments=True)[1:]
    command = next(c for c in COMMANDS if tuple(words[: len(c.words)]) == c.words)
    with pytest.raises(SystemExit) as ended:
        cli.main([*command.words, "--help"])
    assert ended.value.code == 0
    known = capsys.readouterr().out
    for flag in (w for w in words if w.startswith("--")):
        assert f"{flag} " in known or f"{flag}," in known or f"[{flag}]" in known, flag


def test_the_python_shown_runs_on_the_planet_shown(folder, serving, tmp_path, monkeypatch, capsys):
    (tmp_path / "planet").symlink_to(folder[0])
    monkeypatch.chdir(tmp_path)
    names = {}
    with serving(folder[0]) as (_, stac):
        for code in blocks("python"):
            exec(compile(code.replace("http://127.0.0.1:8643", stac), "planet-scenes.md", "exec"), names)
    assert len(names["items"]) >= 4
    clouds = [i.properties["eo:cloud_cover"] for i in names["items"]]
    assert clouds == sorted(clouds)
    assert names["red"].sizes["time"] == len({i.datetime.date() for i in names["items"]})
    assert 0 < float(names["red"].mean()) < 1
    out = capsys.readouterr().out
    assert names["items"][0].id in out
    assert re.search(r"\d+ items", out)
