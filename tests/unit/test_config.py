"""Settings <-> YAML <-> flags: what goes in comes out, and everything else is one clear error."""

import argparse
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from seco import config as configs
from seco.config import add_arguments, build, from_args, read_yaml, setting, to_plain, write_yaml
from seco.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = setting(2, "how deep")


@dataclass(frozen=True, kw_only=True)
class Settings:
    num_places: int = setting(10, "places to draw", flag="--places")
    rate: float = setting(0.5, "learning rate, 50% by default")
    name: str = setting("x", "a name")
    folder: Path = setting(Path("here"), "a folder")
    colour: Literal["red", "blue"] = setting("red", "a colour")
    level: Literal[1, 2] = setting(1, "a level")
    overlap: bool = setting(True, "let them overlap")
    limit: int | None = setting(None, "a limit; default: derived")
    where: Path | None = setting(None, "a file")
    pair: tuple[float, float] = setting((0.0, 1.0), "two numbers")
    names: tuple[str, ...] = setting((), "names")
    sizes: tuple[int, ...] | None = setting(None, "sizes")
    own: dict = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self):
        if self.num_places < 1:
            raise ConfigError(f"{self.num_places} places; at least 1")


def parse(*argv, file=None):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser, Settings)
    return from_args(Settings, parser.parse_args(argv), file)


FULL = Settings(
    num_places=7, rate=1e-5, name="a: b #c", folder=Path("/a/b"), colour="blue", level=2, overlap=False, limit=3,
    where=Path("w"), pair=(0.1, 0.3), names=("p", "q"), sizes=(1, 2, 3), own={"k": [1, None]}, inner=Inner(depth=9),
)  # fmt: skip


@pytest.mark.parametrize("config", [Settings(), FULL], ids=["defaults", "full"])
def test_yaml_and_back(config, tmp_path):
    write_yaml(config, tmp_path / "c.yaml")
    assert build(Settings, read_yaml(tmp_path / "c.yaml")) == config
    assert list(read_yaml(tmp_path / "c.yaml")) == [f.name for f in dataclasses.fields(Settings)]
    assert [f.name for f in tmp_path.iterdir()] == ["c.yaml"]


def test_a_config_that_cannot_be_written_is_one_clear_error_and_keeps_the_old_one(tmp_path, monkeypatch):
    file = tmp_path / "c.yaml"
    write_yaml(FULL, file)

    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(ConfigError, match=r"cannot write .*c\.yaml.*No space left"):
            write_yaml(Settings(), file)
    assert build(Settings, read_yaml(file)) == FULL


def test_plain_values_are_yaml_s_own():
    plain = to_plain(FULL)
    assert plain["folder"] == "/a/b"
    assert plain["pair"] == [0.1, 0.3]
    assert plain["inner"] == {"depth": 9}
    assert {type(v) for v in plain.values()} <= {int, float, str, bool, list, dict}


@pytest.mark.parametrize(
    ("name", "value", "built"),
    [
        ("num_places", "12", 12),
        ("num_places", "6_000", 6000),
        ("num_places", 3.0, 3),
        ("rate", 1, 1.0),
        ("rate", "1e-3", 1e-3),  # YAML 1.1 reads 1e-3 as a string
        ("name", 5, "5"),
        ("folder", "a/b", Path("a/b")),
        ("colour", "blue", "blue"),
        ("overlap", "no", False),
        ("overlap", "True", True),
        ("limit", None, None),
        ("limit", "none", None),
        ("limit", "4", 4),
        ("pair", [1, 2], (1.0, 2.0)),
        ("pair", "1,2.5", (1.0, 2.5)),
        ("names", "a,b", ("a", "b")),
        ("names", "", ()),
        ("names", ["a"], ("a",)),
        ("sizes", "3,4", (3, 4)),
        ("sizes", None, None),
        ("own", {"a": 1}, {"a": 1}),
        ("inner", {"depth": 4}, Inner(depth=4)),
    ],
)
def test_values_become_the_type_of_their_field(name, value, built):
    got = getattr(build(Settings, {name: value}), name)
    assert got == built
    assert type(got) is type(built)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"numplaces": 3}, "unknown setting numplaces; known: num_places, rate"),
        ({"zeta": 1, "alpha": 2}, "unknown setting alpha, zeta"),
        ({"num_places": "many"}, r"setting num_places \(--places\): 'many' is not a valid int"),
        ({"num_places": 2.5}, r"num_places \(--places\): 2.5"),
        ({"num_places": True}, r"num_places \(--places\): True"),
        ({"num_places": float("inf")}, r"num_places \(--places\): inf"),
        ({"num_places": [1]}, "num_places"),
        ({"num_places": None}, r"setting num_places \(--places\): got nothing; give a int"),
        ({"num_places": 0}, "0 places; at least 1"),
        ({"rate": "fast"}, "rate: 'fast' is not a valid float"),
        ({"rate": False}, "rate: False"),
        ({"colour": "green"}, "'green' is not one of red, blue"),
        ({"overlap": "maybe"}, "overlap: 'maybe'"),
        ({"pair": [1]}, "has 1 values, not 2"),
        ({"pair": 3}, "setting pair: 3 is not a valid"),
        ({"pair": ["a", "b"]}, "pair"),
        ({"sizes": ["a"]}, "sizes"),
        ({"own": 3}, "own"),
        ({"inner": {"width": 3}}, "unknown setting width; known: depth"),
        ({"inner": 3}, "inner"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(values, said):
    with pytest.raises(ConfigError, match=said) as caught:
        build(Settings, values)
    assert "\n" not in str(caught.value)


def test_flags_are_made_from_fields():
    words = "--places 5 --rate 0.1 --no-overlap --colour blue --level 2 --limit 8 --pair 0.2,0.4 --names a,b --where f"
    assert parse(*words.split()) == Settings(
        num_places=5, rate=0.1, overlap=False, colour="blue", level=2, limit=8, pair=(0.2, 0.4), names=("a", "b"),
        where=Path("f"),
    )  # fmt: skip
    assert parse() == Settings()
    assert parse("--overlap").overlap is True


def test_flags_override_a_file_and_leave_the_rest(tmp_path):
    write_yaml(FULL, tmp_path / "c.yaml")
    assert parse("--places", "99", "--limit", "none", file=tmp_path / "c.yaml") == dataclasses.replace(
        FULL, num_places=99, limit=None
    )


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["--places", "many"], ConfigError),
        (["--colour", "green"], argparse.ArgumentError),
        (["--level", "3"], argparse.ArgumentError),
        (["--pair", "1"], ConfigError),
    ],
)
def test_wrong_flags_are_errors(argv, error):
    with pytest.raises(error):
        parse(*argv)


def test_help_says_what_a_setting_is_and_its_default():
    parser = argparse.ArgumentParser()
    add_arguments(parser, Settings, skip=("level",))
    text = " ".join(parser.format_help().split())
    assert "--places NUM_PLACES places to draw (default: 10)" in text
    assert "learning rate, 50% by default (default: 0.5)" in text
    assert "--limit LIMIT a limit; default: derived --" in text
    assert "two numbers (default: 0.0,1.0)" in text
    assert "names (default: none)" in text
    assert "{red,blue}" in text
    assert "--overlap, --no-overlap" in text
    assert "--level" not in text
    assert "--own" not in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [1", "is not valid YAML"),
        (b"- a\n- b", "holds a list; it must map setting names to values"),
        (b"just words", "holds a str"),
        (b"3: 1", "3 is no setting's name"),
        (b"\xff\xfe\x00", "cannot read config"),
        (b"a: !!python/object/apply:os.system ['true']", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_one_clear_error(tmp_path, content, said):
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        read_yaml(file)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_error_and_an_empty_one_is_no_setting(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read config .*nothing\.yaml"):
        read_yaml(tmp_path / "nothing.yaml")
    (tmp_path / "empty.yaml").touch()
    assert read_yaml(tmp_path / "empty.yaml") == {}


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().rate = 1.0
    assert configs.hints(Settings)["limit"] == int | None
