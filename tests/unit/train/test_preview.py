"""`seco views` shows the draws of the run with the same settings, of places that it trains on."""

import dataclasses

import pytest
import torch

from seco.train import loop, preview

PLAIN = ("plan", "augment", "seed", "replacement")


@pytest.fixture
def shown(monkeypatch):
    """What the sheet was asked to draw."""
    calls = []
    monkeypatch.setattr(
        preview, "draw_sheet", lambda tier, viewer, out, **rest: calls.append({"viewer": viewer, **rest})
    )
    return calls


@pytest.mark.parametrize(
    "settings", [{}, {"seed": 3, "seasons": "with", "view_px": 12, "jitter_p": 0.5, "method": "moco-tp"}]
)
def test_the_views_shown_are_those_of_training(tools, small_dataset, tmp_path, shown, settings):
    config = tools.make(small_dataset, **settings)
    preview.preview(config, tmp_path / "v.png", epoch=2)
    session = loop._Session(config, tmp_path / "run", resume=False, say=tools.quiet)
    session.close()
    theirs, ours = session.viewer, shown[0]["viewer"]
    assert all(getattr(ours, k) == getattr(theirs, k) for k in PLAIN)
    for field in dataclasses.fields(theirs.space):
        a, b = getattr(ours.space, field.name), getattr(theirs.space, field.name)
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    assert set(shown[0]["places"]) <= set(session.places.train.tolist())
    assert len(shown[0]["places"]) == 4
    assert shown[0]["epoch"] == 2


def test_the_number_of_places_is_bounded_by_those_there_are(tools, make_dataset, tmp_path, shown):
    path = make_dataset(num_places=3, px=8)
    for asked, drawn in ((0, 1), (2, 2), (99, 3)):
        preview.preview(tools.make(path, test_share=0.0, batch_size=64), tmp_path / "v.png", num_places=asked)
        assert len(shown[-1]["places"]) == drawn


@pytest.mark.parametrize(
    ("options", "negatives"),
    [({"queue_size": None}, "batch"), ({}, "queue"), ({"negatives": "both"}, "both")],
)
def test_the_negatives_that_training_takes_reach_the_sheet(
    tools, small_dataset, tmp_path, shown, options, negatives
):
    config = tools.make(small_dataset, method="moco", method_options=options)
    lines = preview.preview(config, tmp_path / "v.png")
    assert shown[0]["negatives"] == negatives
    assert ("queue" in lines[1]) == (negatives != "batch")


def test_the_option_on_siblings_reaches_the_sheet(tools, small_dataset, tmp_path, shown):
    config = tools.make(small_dataset, method_options={"siblings": "none"})
    lines = preview.preview(config, tmp_path / "v.png")
    assert shown[0]["siblings"] == "none"
    assert not any(" and of " in line for line in lines)
