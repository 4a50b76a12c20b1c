"""Nothing that a checkpoint names is run, whatever it names, and damaged files are one line."""

import argparse
import pathlib
import pickle
import re
import sys
import types
import zipfile

import pytest
import torch
from torch import nn

from seco.cli import main
from seco.errors import CheckpointError
from seco.use.convert import convert
from seco.use.feeding import Options
from seco.use.foreign import read_foreign

WEIGHTS = {"conv1.weight": torch.ones(2, 3, 1, 1)}


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.fixture
def module(monkeypatch):
    """Offer a module whose function and class leave a trace when used."""
    made = types.ModuleType("settings_of_somebody")

    def touch(path):
        pathlib.Path(path).touch()
        return {}

    class Setting:
        def __init__(self, path):
            self.path = path

        def __setstate__(self, state):
            pathlib.Path(state["path"]).touch()

    for thing in (touch, Setting):
        thing.__module__, thing.__qualname__ = made.__name__, thing.__name__
        setattr(made, thing.__name__, thing)
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("where", ["hyper_parameters", "state_dict"])
@pytest.mark.parametrize("attack", ["os.system", "eval", "exec", "subprocess", "getattr", "import"])
def test_hostile_pickles_run_nothing(tmp_path, attack, where, zipped):
    import importlib
    import os
    import subprocess

    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w').close()"
    call = {
        "os.system": Calls(os.system, f"touch {marker}"),
        "eval": Calls(eval, code),
        "exec": Calls(exec, code),
        "subprocess": Calls(subprocess.call, ["touch", str(marker)]),
        "getattr": Calls(getattr, marker, "touch"),
        "import": Calls(importlib.import_module, "os"),
    }[attack]
    content = {"state_dict": dict(WEIGHTS), "hyper_parameters": {}}
    content[where]["x"] = call
    file = tmp_path / "hostile.ckpt"
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"hostile.ckpt") as caught:
        convert(file, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    torch.load(file, weights_only=False)  # the attack is real: an ordinary load runs it
    assert marker.exists() or attack in ("getattr", "import")


def test_a_bare_hostile_pickle(tmp_path, capsys):
    import os

    marker, file = tmp_path / "ran", tmp_path / "x.pth"
    file.write_bytes(pickle.dumps(Calls(os.system, f"touch {marker}")))
    assert main(["convert", str(file), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("seco: error: cannot read")
    assert said.count("\n") == 1
    assert not marker.exists()


def test_unknown_names_become_inert(tmp_path, module):
    marker = tmp_path / "ran"
    content = {"state_dict": WEIGHTS, "a": Calls(module.touch, str(marker)), "b": module.Setting(str(marker))}
    file = tmp_path / "odd.ckpt"
    torch.save(content, file)
    foreign = read_foreign(file)
    assert foreign.stand_ins == ("settings_of_somebody.Setting", "settings_of_somebody.touch")
    assert torch.equal(foreign.content["state_dict"]["conv1.weight"], WEIGHTS["conv1.weight"])
    assert not marker.exists()
    torch.load(file, weights_only=False)
    assert marker.exists()


def test_legacy_files_of_unknown_names_are_refused(tmp_path, module):
    file = tmp_path / "old.pth"
    torch.save({"state_dict": WEIGHTS, "b": module.Setting("x")}, file, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"names settings_of_somebody.Setting, which is not loaded"):
        read_foreign(file)


@pytest.mark.parametrize("zipped", [True, False])
def test_settings_of_old_lightning_are_read_over(tmp_path, zipped):
    class AttributeDict(dict):
        pass

    AttributeDict.__module__, AttributeDict.__qualname__ = (
        "pytorch_lightning.utilities.parsing",
        "AttributeDict",
    )
    package = types.ModuleType("pytorch_lightning.utilities.parsing")
    package.AttributeDict = AttributeDict
    for name in ("pytorch_lightning", "pytorch_lightning.utilities"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules[package.__name__] = package
    file = tmp_path / "old.ckpt"
    try:
        settings = {"a": AttributeDict(b=1), "n": argparse.Namespace(c=2), "p": pathlib.PosixPath("/data")}
        torch.save(
            {"state_dict": WEIGHTS, "hyper_parameters": settings}, file, _use_new_zipfile_serialization=zipped
        )
    finally:
        for name in ("pytorch_lightning", "pytorch_lightning.utilities", package.__name__):
            del sys.modules[name]
    assert torch.equal(read_foreign(file).content["state_dict"]["conv1.weight"], WEIGHTS["conv1.weight"])


def test_names_allowed_for_one_file_are_not_allowed_after(tmp_path):
    torch.save({"state_dict": WEIGHTS, "n": argparse.Namespace(c=2)}, tmp_path / "a.ckpt")
    before = set(torch.serialization.get_safe_globals())
    read_foreign(tmp_path / "a.ckpt")
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.99])
def test_truncated_files(tmp_path, zipped, share):
    whole = tmp_path / "whole.pth"
    state = nn.Conv2d(3, 64, 7).state_dict()
    torch.save(state, whole, _use_new_zipfile_serialization=zipped)
    data = whole.read_bytes()
    cut = tmp_path / "cut.pth"
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match=r"cannot read .*cut.pth") as caught:
        read_foreign(cut)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["zip", "text", "picture", "nothing", "folder", "none", "torchscript"])
def test_what_is_no_checkpoint(tmp_path, kind, capsys):
    file = tmp_path / "x.pth"
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("readme.txt", "hello")
    elif kind == "text":
        file.write_text("conv1.weight: 3\n" * 100)
    elif kind == "picture":
        file.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 10)
    elif kind == "nothing":
        torch.save({}, file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "torchscript":
        torch.jit.script(nn.ReLU()).save(str(file))
    assert main(["convert", str(file), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("seco: error:")
    assert str(file) in said
    assert said.count("\n") == 1
    words = {
        "folder": "is a folder", "none": "does not exist", "nothing": "an empty dictionary",
        "torchscript": "TorchScript program",
    }  # fmt: skip
    assert words.get(kind, "not written by torch.save") in said


def test_what_was_wrong_is_said_and_nothing_of_how_to_run_it(tmp_path):
    whole = tmp_path / "whole.pth"
    torch.save(WEIGHTS, whole)
    said = {}
    for name, data in {"cut": whole.read_bytes()[:-500], "page": b"<!DOCTYPE html>" * 9}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CheckpointError) as caught:
            read_foreign(tmp_path / name)
        said[name] = str(caught.value)
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(
        CheckpointError, match=r"torch.save \(file in archive is not in a subdirectory: readme.txt\)"
    ):
        read_foreign(tmp_path / "zip")
    for text in said.values():
        assert "is cut short or was not written by torch.save (" in text
        assert not re.search("weights_only|internal|enforce|In PyTorch|[.(]$", text)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    torch.save(WEIGHTS, tmp_path / "x.pth")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "x.pth")

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(
        CheckpointError, match=r"cannot read .*x.pth: you may not read it; check its permissions"
    ):
        read_foreign(tmp_path / "x.pth")


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], "text", 3])
def test_content_that_is_no_dictionary(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=f"holds a {type(content).__name__}; a state dictionary"):
        read_foreign(tmp_path / "x.pth")


def test_names_that_are_no_names(tmp_path):
    torch.save({1: torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="'1' is no name of a weight"):
        read_foreign(tmp_path / "x.pth")


def test_a_shape_beyond_all_memory_is_refused_by_its_shape(tmp_path, published):
    state = published.resnet().state_dict()
    state["conv1.weight"] = torch.zeros(1).expand(10**6, 3, 10**6, 10**3)
    torch.save(state, tmp_path / "huge.pth")
    with pytest.raises(
        CheckpointError, match=r"1 misshapen weight: conv1.weight is .1000000, 3, 1000000, 1000."
    ):
        convert(tmp_path / "huge.pth", tmp_path / "out", Options(layout="torchvision"))


def test_a_truncated_safetensors_file(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(CheckpointError, match="cut short or not safetensors"):
        convert(tmp_path / "x.safetensors", tmp_path / "out")
