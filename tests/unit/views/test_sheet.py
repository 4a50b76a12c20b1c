"""The sheet shows what training sees, says what each view got, and names positives and negatives."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from seco.data.dataset import open_dataset
from seco.data.sheet import as_rgb
from seco.methods import _contract as methods
from seco.sensors.sentinel2 import band
from seco.views import sheet
from seco.views.augment import Augment, Parameters, colour_space
from seco.views.batch import Viewer
from seco.views.sheet import NEGATIVE, POSITIVE, differs, draw_sheet, explain, in_words


def make_viewer(tier, method):
    space = colour_space(tier.bands, low=tier.low, high=tier.high, mean=tier.mean, std=tier.std)
    return Viewer(plan=methods.find(method).PLAN, augment=Augment(out_px=tier.patch_px), space=space, seed=3)


def draw(dataset, out, method, *, places=(4, 9), **settings):
    tier = dataset.training()
    num_dates = np.bincount(dataset.place)
    viewer = make_viewer(tier, method)
    return viewer, draw_sheet(
        tier,
        viewer,
        out,
        places=list(places),
        first_row=dataset.first_row,
        num_dates=num_dates,
        title="a sheet",
        **settings,
    )


def one(**given):
    values = {
        "top": 1, "left": 2, "height": 9, "width": 8, "flip": False, "sigma": 0.0, "jitter": [0.8, 1.1, 1.3, -0.05],
        "jitter_order": [2, 3, 0, 1], "jittered": False, "grey": False, **given,
    }  # fmt: skip
    return Parameters(**{k: np.array([v]) for k, v in values.items()})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "crop 8 x 9 px at 2,1"),
        ({"flip": True}, "crop 8 x 9 px at 2,1, flip"),
        ({"sigma": 1.25, "grey": True}, "crop 8 x 9 px at 2,1, blur 1.25 px\ngrey"),
        (
            {"jittered": True, "flip": True},
            "crop 8 x 9 px at 2,1, saturation 1.3\nhue -0.050, brightness 0.8\ncontrast 1.1, flip",
        ),
    ],
)
def test_words_say_what_a_view_got(given, words):
    assert in_words(one(**given), 0) == words


@pytest.mark.parametrize("method", methods.names())
def test_a_picture_is_written_and_its_words_and_images_are_those_of_training(
    small_dataset, tmp_path, method, monkeypatch
):
    dataset = open_dataset(small_dataset)
    figures = []
    original = sheet.save_figure
    monkeypatch.setattr(
        sheet, "save_figure", lambda figure, out: (figures.append(figure), original(figure, out))[1]
    )
    places = np.array([4, 9])
    viewer, out = draw(dataset, tmp_path / "new" / "sheet.png", method, epoch=2)
    with Image.open(out) as image:
        assert image.format == "PNG"
        assert min(image.size) > 200
    assert list(out.parent.iterdir()) == [out]

    tier = dataset.training()
    rows = viewer.rows(2, places, dataset.first_row, np.bincount(dataset.place))
    views = viewer.views(
        torch.from_numpy(tier.pixels[rows.ravel()].reshape(*rows.shape, 3, 16, 16)), 2, places
    )
    drawn = viewer.parameters(2, places, patch_px=16)
    axes = iter(figures[0].axes)
    for line in range(2):
        for s in range(len(rows)):
            cell = next(axes)
            assert cell.get_xlabel().endswith(str(dataset.dates[rows[s, line]]))
            assert np.allclose(cell.images[0].get_array(), as_rgb(tier.pixels[rows[s, line]], tier))
            if line == 0:
                assert cell.get_title() == f"stored t{s}"
        for view in viewer.plan.views:
            cell = next(axes)
            assert cell.get_xlabel() == in_words(drawn[view.name], line)
            stored = views[view.name][line].numpy() * tier.std[:, None, None] + tier.mean[:, None, None]
            assert np.allclose(
                cell.images[0].get_array(), np.clip(stored / 255, 0, 1).transpose(1, 2, 0), atol=1e-5
            )
            if line == 0:
                assert (
                    cell.get_title()
                    == f"{view.name} = t{view.season}, {'augmented' if view.augment else 'only cropped'}"
                )
    legend = [t.get_text() for t in next(axes).texts]
    assert legend == [text for text, _ in explain(viewer.plan)]


def test_numbers_of_16_bits_can_be_drawn(make_dataset, tmp_path):
    from seco.sensors import sentinel2

    bands = [sentinel2.band(b) for b in ("B02", "B03", "B04", "B08")]
    dataset = open_dataset(make_dataset(num_places=3, bands=bands, dtype="uint16"))
    _, out = draw(dataset, tmp_path / "sheet.png", "seco", places=[0])
    assert out.stat().st_size > 1000


def test_who_is_positive_and_who_negative_in_each_method():
    own = "every place in the batch"
    seco = [
        ("z0: positive k0 (differs in season and augmentation)", POSITIVE),
        ("      negatives: the queue of earlier k0", NEGATIVE),
        ("z1: positive k1 (differs in season)", POSITIVE),
        ((f"      negatives: the queue of earlier k1; and of {own}: k0 (differs in season and augmentation), "
         "k2 (differs in augmentation)"), NEGATIVE),
        ("z2: positive k2 (differs in augmentation)", POSITIVE),
        ((f"      negatives: the queue of earlier k2; and of {own}: k0 (differs in season and augmentation), "
         "k1 (differs in season)"), NEGATIVE),
    ]  # fmt: skip
    assert explain(methods.find("seco").PLAN, negatives="queue") == seco
    queue = ("      negatives: the queue of earlier k0", NEGATIVE)
    assert explain(methods.find("moco").PLAN, negatives="queue") == [
        ("z0: positive k0 (differs in augmentation)", POSITIVE),
        queue,
    ]
    assert explain(methods.find("moco-tp").PLAN, negatives="queue") == [
        ("z0: positive k0 (differs in season and augmentation)", POSITIVE),
        queue,
    ]


def test_the_siblings_option_decides_which_negatives_are_named():
    plan = methods.find("seco").PLAN
    texts = {s: [t for t, _ in explain(plan, siblings=s, negatives="queue")] for s in ("all", "own", "none")}
    assert "and of the same place: k0" in texts["own"][3]
    assert texts["none"][3] == "      negatives: the queue of earlier k1"
    assert texts["all"][0::2] == texts["own"][0::2] == texts["none"][0::2]


def test_the_negatives_option_decides_where_other_places_come_from():
    plan = methods.find("seco").PLAN
    first = {n: explain(plan, siblings="none", negatives=n)[1][0].strip() for n in ("queue", "batch", "both")}
    assert first == {
        "queue": "negatives: the queue of earlier k0",
        "batch": "negatives: k0 of every other place in the batch",
        "both": "negatives: k0 of every other place in the batch; the queue of earlier k0",
    }


def test_a_key_that_is_only_cropped_differs_in_its_crop_alone():
    from seco.views.plan import Head, View, ViewPlan

    views = (View(name="q", season=0, augment=False), View(name="k0", season=0, augment=False))
    plan = ViewPlan(views=views, heads=(Head(name="z0", positive="k0"),), num_seasons=1, order="augment-crop")
    assert differs(plan, "k0") == "crop alone"


def test_clouds_do_not_leave_the_ground_black(make_dataset):
    """Reflectance has one stretch for all three colours, white at 0.3 at the latest, whatever the brightest pixels are."""

    tier = dataclasses.replace(
        open_dataset(make_dataset()).training(), bands=tuple(band(n, offset=-0.1) for n in ("B04", "B03", "B02")),
        low=np.full(3, 1200.0), high=np.full(3, 11_000.0),
    )  # fmt: skip
    grey = np.full((3, 2, 2), 1000 + 1500, np.uint16)
    shown = as_rgb(grey, tier)
    assert np.allclose(shown, 0.5 ** (1 / 1.4), atol=1e-6)
    red = grey.copy()
    red[0] = 1000 + 3000
    assert np.allclose(as_rgb(red, tier)[0, 0], (1, 0.5 ** (1 / 1.4), 0.5 ** (1 / 1.4)), atol=1e-6)
