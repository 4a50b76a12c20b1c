"""Labels, places and splits from the folders that pictures lie in, as tables."""

import pytest

from seco.data.arranging import apply_lists, arrange, split_name
from seco.errors import DatasetError


def told(names, labels="auto"):
    return [(e.place, e.label, e.split) for e in arrange(names, labels)]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        # classes below wrappers
        (["top/2750/A/1.jpg", "top/2750/B/1.jpg"], [("A/1", "A", None), ("B/1", "B", None)]),
        # odd names, as archives have them
        (["/a/1.jpg", "b/2.jpg"], [("a/1", "a", None), ("b/2", "b", None)]),
        (["/train/A/1.jpg", "/test/B/1.jpg"], [("train/A/1", "A", "train"), ("test/B/1", "B", "test")]),
        (["./a/x.jpg", "a//a/x.jpg"], [("x", None, None), ("a/x", None, None)]),
        (["./x.jpg", "x.jpg", "y.b.JPG"], [("./x.jpg", None, None), ("x.jpg", None, None), ("y.b", None, None)]),
        # one folder: no classes
        (["imgs/1.jpg", "imgs/2.jpg"], [("1", None, None), ("2", None, None)]),
        (["1.jpg"], [("1", None, None)]),
        # split above classes, and below
        (
            ["x/train/A/1.jpg", "x/train/B/2.jpg", "x/val/A/3.jpg"],
            [("train/A/1", "A", "train"), ("train/B/2", "B", "train"), ("val/A/3", "A", "val")],
        ),
        (
            ["A/Train/1.jpg", "A/test/2.jpg", "B/test/3.jpg"],
            [("A/Train/1", "A", "train"), ("A/test/2", "A", "test"), ("B/test/3", "B", "test")],
        ),
        # split without classes
        (["train/1.jpg", "validation/2.jpg"], [("train/1", None, "train"), ("validation/2", None, "val")]),
        # a lone folder called test is no split
        (["test/A/1.jpg", "test/B/2.jpg"], [("A/1", "A", None), ("B/2", "B", None)]),
        # one name with two suffixes
        (["A/1.jpg", "A/1.png", "B/1.jpg"], [("A/1.jpg", "A", None), ("A/1.png", "A", None), ("B/1", "B", None)]),
        # outside the class folders
        (["A/1.jpg", "B/1.jpg", "1.jpg"], [("A/1", "A", None), ("B/1", "B", None), ("1", None, None)]),
    ],
)  # fmt: skip
def test_arrange(names, wanted):
    assert told(names) == wanted


def test_labels_as_told():
    assert told(["imgs/1.jpg"], "folder") == [("1", "imgs", None)]
    assert told(["A/1.jpg", "B/2.jpg"], "none") == [("A/1", None, None), ("B/2", None, None)]
    with pytest.raises(DatasetError, match=r"1\.jpg lies in no class folder"):
        told(["A/1.jpg", "1.jpg"], "folder")


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("eurosat-train.txt", "train"),
        ("x/uc_merced-val.txt", "val"),
        ("TEST.lst", "test"),
        ("validation_names.txt", "val"),
    ],
)
def test_split_name(file, split):
    assert split_name(file) == split


@pytest.mark.parametrize("file", ["names.txt", "train-test.txt", "trainees.txt"])
def test_split_name_says_none(file):
    with pytest.raises(DatasetError, match="its name must say train, val or test"):
        split_name(file)


class TestLists:
    entries = arrange(["r/A/A_1.jpg", "r/A/A_2.jpg", "r/B/B_1.jpg", "r/B/B_2.jpg"], "auto")

    def splits(self, **lists):
        entries, notes = apply_lists(self.entries, lists)
        return [e.split for e in entries], notes

    @pytest.mark.parametrize("line", ["A_1.jpg", "A_1.tif", "A_1", "A/A_1.jpg", "r/A/A_1.jpg", "A\\A_1.jpg"])
    def test_spellings(self, line):
        assert self.splits(test=[line])[0] == ["test", None, None, None]

    def test_notes(self):
        splits, notes = self.splits(train=["A_1", "B_1", "C_9"], test=["A_2"])
        assert splits == ["train", "test", "train", None]
        assert notes == [
            "1 names of the split files are no picture, such as C_9", "1 pictures are in no split file and have no split"
        ]  # fmt: skip

    def test_two_lists(self):
        with pytest.raises(DatasetError, match="A_1 stands in the lists of train and test"):
            self.splits(train=["A_1"], test=["A_1"])

    def test_nothing_found(self):
        with pytest.raises(DatasetError, match="no name of the split files is among the pictures, such as C"):
            self.splits(train=["C"])

    def test_ambiguous(self):
        entries = arrange(["A/1.jpg", "B/1.jpg"], "auto")
        with pytest.raises(DatasetError, match=r"1 fits A/1\.jpg and B/1\.jpg; write the folder too"):
            apply_lists(entries, {"train": ["1"]})
        assert [e.split for e in apply_lists(entries, {"train": ["B/1"]})[0]] == [None, "train"]
