"""The page as a whole: complete, self-contained, the same every time, and honest where something is missing."""

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from seco.cli import main
from seco.errors import ConfigError
from seco.report import page as pages
from seco.report.options import Report
from seco.report.page import write_report

SECTIONS = ("run", "scores", "training", "map", "seasons", "views", "neighbours", "embedding")


def write(out, *runs, **settings):
    said = []
    settings = {"num_places": 8, "device": "cpu"} | settings
    return write_report(list(runs), out, Report(**settings), say=said.append).read_text(encoding="utf-8")


def section(text, name):
    return text.partition(f'<section id="{name}"')[2].partition("</section>")[0]


def not_shown(text):
    return {n for n in SECTIONS if "Not shown: " in section(text, n)}


@pytest.fixture(scope="module")
def text(finished, tmp_path_factory):
    """The page of the finished run."""
    return write(tmp_path_factory.mktemp("page"), finished)


def test_every_section_is_there_and_linked(text):
    assert re.findall(r'<section id="(\w+)"', text) == list(SECTIONS)
    assert re.findall(r'<a href="#(\w+)">', text) == list(SECTIONS)
    assert not_shown(text) == set()
    assert "{{" not in text


def test_the_page_asks_for_nothing_but_itself(text):
    outside = re.sub(r'"data:image/\w+;base64,[^"]*"|http://www\.w3\.org/2000/svg', "", text)
    assert not re.search(
        r"https?:|//\w+\.\w|@import|<link(?! rel=\"icon\" href=\"data:,\")|<iframe|<script src", outside
    )
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src 'none'" in policy
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy


def test_the_same_run_gives_the_same_bytes(text, finished, tmp_path):
    assert write(tmp_path, finished) == text
    assert write(tmp_path, finished, seed=1) != text


def test_what_data_say_is_text(text, hostile):
    assert "<img src=x" not in text
    assert "&lt;/script&gt;&lt;img" in text
    assert text.count("</script>") == 2


def test_the_data_of_the_scripts_can_be_read(text):
    data = json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1]
    )
    assert {c["title"] for c in data["charts"]} >= {
        "Loss of each head",
        "Probe on held-out places",
        "Throughput",
    }
    (map_,), (embedding,) = data["maps"], data["embeddings"]
    assert len(map_["points"]["lon"]) == 24
    num = len(embedding["place"])
    assert num == len(embedding["panels"][0]["x"]) == embedding["sprite"]["num"] == len(embedding["date"])


def test_two_runs_stand_side_by_side(finished, run, tmp_path):
    other = run.rename(run.with_name("other"))
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("jitter_p: 0.8", "jitter_p: 0.7"))
    text = write(tmp_path / "page", finished, other)
    differ = section(text, "run")
    assert re.search(r"jitter_p</th><td>0.8</td><td>0.7</td>", differ)
    assert 'row">crop_scale</th><td>0.2, 1</td><td>' not in differ
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert [p["label"] for p in data["embeddings"][0]["panels"]] == ["run", "other"]
    assert len(data["maps"]) == 1  # of the same places
    assert "Of other there are no scores" in section(text, "scores")


def test_a_dataset_that_is_gone_leaves_curves_and_scores(run, small_dataset, tmp_path):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(str(small_dataset), str(tmp_path / "gone.seco")))
    text = write(tmp_path / "page", run)
    assert not_shown(text) == {"run", "map", "seasons", "views", "neighbours", "embedding"}
    assert "gone; say where it lies now with --data" in text
    assert "data-chart" in section(text, "training")
    assert not_shown(write(tmp_path / "page", run, data=small_dataset)) == set()


def test_another_dataset_in_its_place_is_not_taken_for_it(run, make_dataset, tmp_path):
    text = write(tmp_path / "page", run, data=make_dataset(seed=5))
    assert "is not the dataset that the run was trained on" in section(text, "map")


def test_a_run_of_a_newer_version_has_all_but_its_views(run, tmp_path):
    with (run / "config.yaml").open("a") as file:
        file.write("warp_drive: 9\n")
    text = write(tmp_path / "page", run)
    assert not_shown(text) == {"views"}
    assert "unknown setting warp_drive" in section(text, "views")
    assert "warp_drive" in section(text, "run")


def test_a_run_without_an_encoder_has_neither_neighbours_nor_embedding(run, tmp_path):
    shutil.rmtree(run / "encoder")
    text = write(tmp_path / "page", run)
    assert not_shown(text) == {"neighbours", "embedding"}
    assert "Not finished: step 6 of 6" in text


def test_a_broken_encoder_is_said(run, tmp_path):
    weights = run / "encoder" / "encoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    text = write(tmp_path / "page", run)
    assert not_shown(text) == {"neighbours", "embedding"}
    assert "The run holds an encoder that cannot be read." in text
    assert "holds no encoder" not in text
    assert "Not finished" not in text


def test_a_run_whose_files_are_all_empty_has_a_page_that_says_so(run, tmp_path):
    for file in run.rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    text = write(tmp_path / "page", run)
    assert not_shown(text) == set(SECTIONS) - {"scores"}
    assert "The run holds an encoder, but no log line that can be read." in text
    for name in (
        "config.yaml holds no settings",
        "environment.json cannot be read",
        "places.parquet cannot be read",
    ):
        assert name in section(text, "run")


def test_an_encoder_and_a_dataset_of_a_newer_version_are_said(run, small_dataset, tmp_path):
    weights = run / "encoder" / "encoder.safetensors"
    old = weights.read_bytes()
    weights.write_bytes(old.replace(rb"\"version\": 1", rb"\"version\": 9", 1))
    assert weights.read_bytes() != old
    newer = shutil.copytree(small_dataset, tmp_path / "newer.seco")
    meta = json.loads((newer / "dataset.json").read_text())
    (newer / "dataset.json").write_text(json.dumps(meta | {"version": 9}))
    text = write(tmp_path / "page", run, data=newer)
    assert not_shown(text) == {"run", "map", "seasons", "views", "neighbours", "embedding"}
    assert "encoder spec version 9; this seco reads up to 1: upgrade seco" in text
    assert "dataset version 9; this seco reads up to 1: upgrade seco" in section(text, "map")
    assert "data-chart" in section(text, "training")


def test_a_run_with_nothing_but_a_log(run, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(run / "metrics.jsonl", bare)
    text = write(tmp_path / "page", bare)
    assert not_shown(text) == set(SECTIONS) - {"training", "scores"}
    assert "how many there were to be is not known" in text


@pytest.mark.parametrize(("name", "content"), [
    ("config.yaml", "a: &a [*a]\n"), ("config.yaml", 'method: "\\ud800"\n'), ("config.yaml", "d: 2020-13-45\n"),
    ("metrics.jsonl", '{"step": 1, "loss": 1' + "0" * 400 + "}\n"), ("environment.json", '{"versions": [[[[[[[[1]]]]]]]]}'),
])  # fmt: skip
def test_runs_that_a_fuzzer_broke_have_a_page(run, tmp_path, name, content):
    (run / name).write_text(content)
    assert "run" in write(tmp_path / "page", run, num_places=3)


def test_a_run_that_goes_on_says_how_far_it_is_and_shows_all_there_is(run, tmp_path):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("steps: 6", "steps: 600"))
    text = write(tmp_path / "page", run, num_places=3)
    hero = text.partition('<div class="hero">')[2].partition("<section")[0]
    assert 'class="fill" style="width:1.00%"' in hero
    assert re.search(r"1%, about [\d.]+ \w+ left if it still runs", hero)
    assert not_shown(text) == set()


def test_beside_a_run_that_goes_on_the_embedding_says_whose_it_is(finished, run, tmp_path):
    shutil.rmtree(run / "encoder")
    text = write(tmp_path / "page", finished, run, num_places=3)
    data = json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1]
    )
    (embedding,) = data["embeddings"]
    assert embedding["named"]
    assert len(embedding["panels"]) == 1
    assert "2 runs side by side, 1 of them finished." in text


def test_a_run_whose_settings_are_gone_is_called_by_its_folder(run, tmp_path):
    (run / "config.yaml").write_text("{")
    shutil.rmtree(run / "encoder")
    text = write(tmp_path / "page", run)
    assert "<h1>run</h1>" in text


def test_the_terminal_says_when_the_data_are_not_the_runs_and_what_the_run_came_to(
    run, make_dataset, tmp_path
):
    said = []
    settings = Report(num_places=3, device="cpu", data=make_dataset(seed=5))
    write_report([run], tmp_path / "page", settings, say=said.append)
    assert "is not the dataset that the run was trained on" in said[0]
    assert said[-1].startswith("Land cover from one picture: run 50.0%. Does not beat colour statistics.")


def test_neighbours_stand_beside_those_of_random_weights_and_colour(text):
    block = section(text, "neighbours")
    for name in ("random test_resnet", "colour statistics", "chance"):
        assert f'bar-name">{name}</span>' in block


def test_hostile_folder_names_are_text(run, tmp_path, hostile):
    odd = run.rename(run.with_name('"><img src=x onerror=alert(1)> {{data}} `'))
    text = write(tmp_path / "page", odd)
    assert "<img src=x" not in text
    assert "{{data}}" in text


def test_images_without_dates_or_positions(make_dataset, tmp_path):
    from seco.train.loop import pretrain
    from seco.train.settings import Pretrain

    data = make_dataset(num_places=30, num_dates=1, positions=False, labels=[f"c{i % 3}" for i in range(30)])
    config = Pretrain(data=data, method="moco", encoder="test_resnet", steps=2, batch_size=4, device="cpu")
    pretrain(config, tmp_path / "r", say=lambda line: None)
    text = write(tmp_path / "page", tmp_path / "r")
    assert not_shown(text) == {"scores", "map", "neighbours"}
    assert "no seasons to compare" in section(text, "seasons")


def test_many_bands_of_another_type(make_dataset, tmp_path):
    from seco.sensors.sentinel2 import BANDS
    from seco.train.loop import pretrain
    from seco.train.settings import Pretrain

    data = make_dataset(bands=BANDS[:5], dtype="uint16")
    config = Pretrain(data=data, encoder="test_resnet", steps=2, batch_size=4, device="cpu")
    pretrain(config, tmp_path / "r", say=lambda line: None)
    assert not_shown(write(tmp_path / "page", tmp_path / "r")) == {"scores"}


@pytest.mark.parametrize(("args", "words"), [
    (["nowhere"], "not a folder"), (["deep"], "runs in it: run"), (["RUN", "--out", "FILE"], "cannot be a folder"),
    (["RUN", "--out", "FILE/in/it"], "is a file; choose another (--out)"),
    (["RUN", "--scores", "no.json"], "cannot read scores no.json"), (["RUN", "--places", "1"], "at least 2"),
    (["RUN", "--seed", "-1"], "seed -1"),
])  # fmt: skip
def test_what_cannot_be_done_is_one_line(args, words, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    shutil.copytree(run, tmp_path / "deep" / "run")
    args = [str(run) if a == "RUN" else a.replace("FILE", str(tmp_path / "file")) for a in args]
    assert main(["report", *args]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error


def test_a_full_disk_is_one_line_and_leaves_no_half_page(run, tmp_path, monkeypatch, capsys):
    real = Path.write_bytes

    def full(self, data):
        if "index.html" not in self.name:
            return real(self, data)
        real(self, data[: len(data) // 2])
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    out = tmp_path / "page"
    assert main(["report", str(run), "--out", str(out), "--places", "4", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "free disk space" in error
    assert list(out.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_made(run, tmp_path, monkeypatch):
    monkeypatch.setattr(pages.os, "access", lambda *_: False)
    said = []
    with pytest.raises(ConfigError, match=rf"nothing can be written into {tmp_path}; .*--out"):
        write_report([run], tmp_path / "page" / "deeper", say=said.append)
    assert said == []
    assert not (tmp_path / "page").exists()


def test_the_command_prints_the_page_and_opens_it(run, tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(opened.append(address)) or True)
    out = tmp_path / "my page"
    assert main(["report", str(run), "--out", str(out), "--places", "4", "--device", "cpu", "--open"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "index.html")
    assert opened == [(out / "index.html").as_uri()]
    assert [p.name for p in out.iterdir()] == ["index.html"]


def test_templates_are_package_data():
    for name in ("page.html", "page.css", *pages.SCRIPTS):
        assert pages._file(name)


def test_nothing_is_written_where_a_run_is_wrong(finished, tmp_path):
    with pytest.raises(ConfigError):
        write_report([finished, tmp_path / "no"], tmp_path / "page", say=lambda line: None)
    assert not (tmp_path / "page").exists()
