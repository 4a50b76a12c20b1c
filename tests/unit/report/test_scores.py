"""The printed table: what all rows share stands under the title, but never the scores."""

from seco.report.scores import print_scores

ROW = {
    "encoder": "a",
    "output": "features",
    "probe": "linear",
    "metric": "accuracy",
    "value": 0.425,
    "num_train": 1248,
}


def test_the_value_of_a_single_row_stands_in_the_table(capsys):
    print_scores([ROW], title="ucmerced: land use")
    head, table = capsys.readouterr().out.split("encoder", 1)
    assert "num_train 1248" in head
    assert "0.425" not in head
    assert table.split()[:4] == ["output", "probe", "metric", "value"]
    assert "0.425" in table


def test_what_differs_has_a_column(capsys):
    print_scores([ROW, ROW | {"encoder": "b", "num_train": 7}], title="ucmerced: land use")
    head, table = capsys.readouterr().out.split("encoder", 1)
    assert "num_train" not in head
    assert "num_train" in table
