"""The whole way on real mosaics, through the command a newcomer types."""

import json

import numpy as np
import pytest
from PIL import Image

import seco
from seco.cli import main
from seco.data.dataset import open_dataset

ARGS = ("--places", "120", "--steps", "4", "--batch-size", "8")


@pytest.fixture(scope="module")
def demo(seco_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", "--data", str(seco_data("bluemarble")), "--out", str(out), *ARGS]) == 0
    return out


def test_leaves_dataset_encoder_scores_and_pictures(demo):
    dataset = open_dataset(demo / "dataset")
    assert (dataset.meta.num_places, dataset.meta.num_patches) == (120, 1440)
    for name in ("seasons", "views", "curves", "scores"):
        with Image.open(demo / "pictures" / f"{name}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 5, f"{name} is blank"
    encoder = seco.load_encoder(demo / "seco")
    patch = np.stack([dataset.read(0)[b] for b in ("red", "green", "blue")])
    assert encoder(patch, bands=["red", "green", "blue"], units="display").shape == (1, 512)


def test_scores_hold_every_encoder_probe_and_head(demo):
    rows = json.loads((demo / "scores.json").read_text())["rows"]
    assert {r["task"] for r in rows} == {"landcover", "climate", "season", "place"}
    for task in ("landcover", "climate"):
        found = {(r["encoder"], r["probe"]) for r in rows if r["task"] == task and r["probe"] != "majority"}
        assert found == {(e, p) for e in ("seco", "random:resnet18", "colour") for p in ("knn", "linear")}
    assert {r["output"] for r in rows if r["encoder"] == "seco" and r["task"] == "season"} == {
        "features",
        "z0",
        "z1",
        "z2",
    }
    assert all(0 <= r["value"] <= 1 for r in rows)
    assert not any(r["transductive"] for r in rows if r["encoder"] == "seco")


def test_ends_with_a_page_about_all_of_it(demo):
    text = (demo / "report" / "index.html").read_text(encoding="utf-8")
    assert "Not shown" not in text
    assert text.count('class="card"') == 3
    assert 200_000 < len(text) < 8_000_000


def test_the_same_command_goes_on_and_changes_nothing(demo, seco_data):
    before = (demo / "scores.json").read_text()
    page = (demo / "report" / "index.html").read_bytes()
    pixels = (demo / "dataset" / "index.parquet").stat().st_mtime_ns
    assert main(["demo", "--data", str(seco_data("bluemarble")), "--out", str(demo), *ARGS]) == 0
    assert (demo / "scores.json").read_text() == before
    assert (demo / "report" / "index.html").read_bytes() == page
    assert (demo / "dataset" / "index.parquet").stat().st_mtime_ns == pixels


def test_other_settings_in_the_same_folder_are_refused(demo, capsys):
    assert main(["demo", "--out", str(demo), "--places", "130"]) == 2
    assert "120 places" in capsys.readouterr().err


@pytest.fixture
def _no_mosaics(tmp_path, monkeypatch):
    monkeypatch.delenv("SECO_DATA", raising=False)
    monkeypatch.setenv("SECO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("seco.data.fetching.NASA", "http://127.0.0.1:9/none")
    monkeypatch.setattr("seco.data.fetching.TRIES", 1)


@pytest.mark.usefixtures("_no_mosaics")
def test_without_mosaics_one_line_says_what_to_do(tmp_path, capsys):
    assert main(["demo", "--source", "bluemarble", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--data" in error
    assert not (tmp_path / "out").exists()
    assert main(["demo", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 2
    assert main(["demo", "--data", str(tmp_path), "--source", "planet", "--out", str(tmp_path / "out")]) == 2


@pytest.mark.usefixtures("_no_mosaics")
def test_without_mosaics_and_network_the_planet_serves(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["demo", "--out", str(out), *ARGS]) == 0
    said = capsys.readouterr().out
    assert "goes on with simulated imagery" in said
    assert "simulated planet" in said
    dataset = open_dataset(out / "dataset")
    assert (dataset.meta.num_places, dataset.meta.num_patches) == (120, 720)
    assert [b.name for b in dataset.meta.bands] == ["B02", "B03", "B04"]
    rows = json.loads((out / "scores.json").read_text())["rows"]
    assert {r["task"] for r in rows} == {"label", "climate", "season", "place"}
    for name in ("seasons", "views", "curves", "scores"):
        assert (out / "pictures" / f"{name}.png").is_file()
    assert main(["demo", "--source", "bluemarble", "--out", str(out), *ARGS]) == 2
    assert "holds simulated imagery" in capsys.readouterr().err
