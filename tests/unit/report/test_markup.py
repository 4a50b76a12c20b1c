"""Nothing that data say becomes markup."""

import json
import re

import numpy as np
import pytest

from seco.report.markup import Html, as_json, clean, count, element, escape, join


def test_text_is_escaped_and_markup_is_not(hostile):
    inner = element("b", hostile)
    assert isinstance(inner, Html)
    assert "<img" not in inner
    assert element("p", inner, "&") == f"<p>{inner}&amp;</p>"
    assert join(["<", None, inner], ">") == f"&lt;&gt;{inner}"


def test_attributes_are_quoted_and_named(hostile):
    made = element("td", "x", class_="num", data_value=1.5, title=f'"{hostile}', aria_label=None)
    assert re.fullmatch(r'<td class="num" data-value="1.5" title="[^"<>]*">x</td>', made)


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "]]>", "\u2028\u2029", "a&b"])
def test_json_cannot_end_its_script(text):
    made = as_json({text: [text]})
    assert not re.search(r"[<>&\u2028\u2029]", made)
    assert json.loads(made) == {clean(text): [clean(text)]}


def test_json_has_no_numbers_that_are_none():
    assert json.loads(as_json({"a": [float("nan"), np.float32("inf"), np.int64(3), (1.5,)]})) == {
        "a": [None, None, 3, [1.5]]
    }


def test_bytes_that_are_no_text_do_not_stop_the_page():
    odd = b"caf\xe9\x1b[31m".decode("utf-8", "surrogateescape")
    assert escape(odd).encode() == "caf\ufffd\ufffd[31m".encode()


def test_counts_have_their_noun():
    assert [count(n, "patch", "patches") for n in (0, 1, 1200)] == ["0 patches", "1 patch", "1,200 patches"]
