"""Everyone makes the same view where nothing is left to chance, and differs where something is."""

import dataclasses

import pytest
import torch
from PIL import Image

from seco.bench import recipes
from seco.bench.families import views
from seco.bench.imagery import RGB, TWELVE, made_patch
from seco.bench.rivals import installed
from seco.views.augment import Augment

WHOLE = {
    "crop_scale": (1.0, 1.0),
    "crop_ratio": (1.0, 1.0),
    "jitter_p": 0.0,
    "grey_p": 0.0,
    "blur_p": 0.0,
    "flip_p": 0.0,
}


def task(bands=RGB, **changes):
    stored = torch.stack([torch.from_numpy(made_patch(bands, 32, seed=i)) for i in range(4)])
    stored = stored if stored.dtype == torch.uint8 else stored.int()
    return recipes.Task(stored=stored, bands=bands, augment=Augment(out_px=16, **(WHOLE | changes)), seed=0)


@pytest.mark.parametrize("name", [n for n in recipes.MAKERS if n != "ours"])
@pytest.mark.parametrize("changes", [{}, {"grey_p": 1.0}, {"flip_p": 1.0}])
def test_without_chance_all_agree(name, changes):
    module, prepare = recipes.MAKERS[name]
    if not installed(module):
        pytest.skip(f"{module} is not installed")
    asked = task(**changes)
    mine, theirs = recipes.ours(asked)(), prepare(asked)()
    gap, mirrored = (mine - theirs).abs().mean(), (mine - theirs.flip(3)).abs().mean()
    # In deviations of a band; PIL and torchvision round to bytes, kornia resamples without antialiasing.
    assert gap < (0.6 * mirrored if name == "kornia" else 0.02)
    assert mirrored > 0.15


def test_our_view_of_the_whole_is_pillows():
    asked = task()
    mine = recipes.ours(asked)()[0]
    image = Image.fromarray(asked.stored[0, 0].numpy()).resize((16, 16), Image.Resampling.BILINEAR)
    want = (torch.tensor(list(image.get_flattened_data())).view(16, 16) / 255 - asked.mean[0]) / asked.std[0]
    assert (mine[0] - want).abs().max() < 0.02


def test_twelve_bands_are_ours_alone_where_there_is_colour():
    rows = {
        r.contender: r
        for r in views._case(task(TWELVE, jitter_p=0.8, jitter=(0.4, 0.4, 0.4, 0.1)), "12 bands", repeats=1)
    }
    assert rows["ours"].median > 0
    assert rows["PIL"].note == "cannot: PIL images have no more than four bands"
    assert rows["torchvision v2"].note.startswith("cannot: ")
    assert rows["torchvision v2"].median is None


def test_a_rival_that_is_not_installed_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(views, "installed", lambda module: module != "kornia")
    rows = {r.contender: r for r in views._case(task(), "RGB", repeats=2)}
    assert rows["kornia"].median is None
    assert "kornia is not installed: pip install 'seasonal-contrast[bench]'" in rows["kornia"].note
    assert rows["PIL"].ratio > 0
    assert rows["PIL"].repeats == 2


def test_every_recipe_leaves_out_what_it_does_not_name():
    for name, steps in views.STEPS.items():
        augment = dataclasses.asdict(views._augment(name, 264, 224))
        happening = {p for p in ("flip_p", "jitter_p", "grey_p", "blur_p") if augment[p] > 0}
        assert happening == set(steps)
        assert augment["blur_sigma"] == (0.1, 2.0)
    assert set(dataclasses.asdict(views._certain(views._augment("all", 64, 64))).values()) >= {1.0}
