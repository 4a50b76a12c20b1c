"""What the README says is run: its Python, its commands' words, its file tree."""

import re
import shlex
from pathlib import Path

import pytest

from seco.cli import COMMANDS
from seco.data import importing
from seco.methods import _contract as methods
from seco.probes import evaluation

REPO = Path(__file__).resolve().parents[2]
README = (REPO / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_example_runs_and_gives_what_it_says(capsys):
    (code,) = blocks("python")
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert tuple(names["features"].shape) == (1, 512)
    assert "red" in capsys.readouterr().out


@pytest.mark.parametrize("line", [x for b in blocks("sh") for x in b.splitlines() if x.startswith("seco ")])
def test_every_command_shown_exists_with_its_flags(line, capsys):
    from seco import cli

    words = shlex.split(line.split("#")[0])[1:]
    command = next(c for c in COMMANDS if tuple(words[: len(c.words)]) == c.words)
    extra = [words[2]] if command.words == ("dataset", "import") else []
    if "--task" in words:
        extra = ["--task", words[words.index("--task") + 1]]
    with pytest.raises(SystemExit) as ended:
        cli.main([*command.words, *extra, "--help"])
    assert ended.value.code == 0
    known = capsys.readouterr().out
    for flag in (w for w in words if w.startswith("--")):
        assert f"{flag} " in known or f"{flag}," in known or f"[{flag}]" in known, flag


def test_make_targets_shown_exist():
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", "\n".join(blocks("sh")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def anchors(page):
    """Names that the headings of a Markdown page can be linked by."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


def test_links_and_pictures_are_there():
    for page in (
        REPO / "README.md",
        *(REPO / "docs").glob("*.md"),
        *(REPO / "docs" / "results").glob("*.md"),
    ):
        text = page.read_text(encoding="utf-8")
        assert "@@" not in text, f"{page.name} has a slot that nobody filled"
        for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", text):
            if target.startswith("http"):
                continue
            file = page.parent / target if target else page
            assert file.exists(), f"{page.name} names {target}"
            if anchor:
                assert anchor in anchors(file), f"{page.name} names {target}#{anchor}"


def test_the_file_tree_names_every_room():
    for room in (REPO / "src" / "seco").iterdir():
        if room.is_dir() and (room / "__init__.py").is_file():
            assert f"  {room.name}/" in README, room.name


def test_everything_that_can_be_added_is_named_somewhere():
    for name in (*importing.names(), *methods.names(), *evaluation.names()):
        assert name in README or name in (REPO / "docs" / "evaluation.md").read_text(encoding="utf-8"), name
