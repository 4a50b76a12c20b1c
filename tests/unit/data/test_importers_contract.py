"""What every importer must offer, whoever wrote it: runs over all that are found."""

import argparse
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from seco import config
from seco.data import importing
from seco.data.importing import ImportReport
from seco.errors import ConfigError, DatasetError, SecoError

NAMES = importing.names()


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def importer(name):
    return importing.find(name)


def test_the_ones_of_this_house_are_found():
    assert {"bluemarble", "geotiff", "images", "seco"} <= set(NAMES)


def test_unknown_name():
    with pytest.raises(ConfigError, match=r"no importer 'tiff'; known: .*geotiff"):
        importing.find("tiff")


def test_says_what_it_is_for(name, importer):
    assert importer.HELP.strip()
    assert "\n" not in importer.HELP
    assert len(importer.HELP) < 120
    assert importer.EXAMPLE.startswith(f"seco dataset import {name} ")
    assert importlib.import_module(importer.__name__).__doc__


class TestOptions:
    def test_are_frozen_keyword_only_settings(self, importer):
        assert dataclasses.is_dataclass(importer.Options)
        options = importer.Options()
        for field in dataclasses.fields(options):
            assert field.kw_only, field.name
            assert field.metadata.get("help"), f"{field.name} has no help"
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(options, field.name, None)
        assert set(config.hints(importer.Options)) >= {f.name for f in dataclasses.fields(options)}

    def test_are_built_from_plain_values_and_back(self, importer):
        options = importer.Options()
        assert config.build(importer.Options, config.to_plain(options)) == options
        with pytest.raises(ConfigError, match="unknown setting nonsense"):
            config.build(importer.Options, {"nonsense": 1})

    def test_make_flags_that_the_example_uses(self, name, importer):
        parser = argparse.ArgumentParser()
        parser.add_argument("source")
        parser.add_argument("out")
        config.add_arguments(parser, importer.Options)
        import shlex

        words = shlex.split(importer.EXAMPLE)
        assert words[:4] == ["seco", "dataset", "import", name]
        config.from_args(importer.Options, parser.parse_args(words[4:]))


class TestRun:
    def test_signature(self, importer):
        assert list(inspect.signature(importer.run).parameters) == ["source", "out", "options"]
        kinds = inspect.get_annotations(importer.run, eval_str=True)
        assert kinds["return"] is ImportReport
        assert kinds["source"] is kinds["out"] is Path

    def test_missing_source(self, importer, tmp_path):
        with pytest.raises(DatasetError) as caught:
            importer.run(tmp_path / "nowhere", tmp_path / "out", importer.Options())
        assert str(tmp_path / "nowhere") in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    def test_empty_folder(self, importer, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(DatasetError) as caught:
            importer.run(tmp_path / "empty", tmp_path / "out", importer.Options())
        assert "\n" not in str(caught.value)
        assert [p.name for p in tmp_path.iterdir()] == ["empty"]

    def test_existing_out_is_left_as_it_is(self, importer, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "precious").write_text("mine")
        with pytest.raises(DatasetError, match="exists already; choose another folder"):
            importer.run(tmp_path / "in", tmp_path / "out", importer.Options())
        assert (tmp_path / "out" / "precious").read_text() == "mine"

    def test_a_file_of_another_kind(self, importer, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "notes.txt").write_text("nothing to see")
        for source in (tmp_path / "in", tmp_path / "in" / "notes.txt"):
            with pytest.raises(SecoError) as caught:
                importer.run(source, tmp_path / "out", importer.Options())
            assert "\n" not in str(caught.value)

    def test_prints_nothing(self, importer, tmp_path, capfd):
        (tmp_path / "in").mkdir()
        with pytest.raises(DatasetError):
            importer.run(tmp_path / "in", tmp_path / "out", importer.Options())
        assert capfd.readouterr() == ("", "")


def test_importing_it_needs_no_torch_and_no_sibling(name):
    script = (
        f"import sys; import seco.data.importers.{name}\n"
        "print([m for m in sys.modules if m == 'torch' or m.startswith('seco.data.importers.')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert re.findall(r"'([\w.]+)'", found.stdout) == [f"seco.data.importers.{name}"]
