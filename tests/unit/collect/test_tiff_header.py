import struct

import numpy as np
import rasterio

from seco.collect.tiff_header import excess


def test_headers_as_they_are_pass_and_absurd_counts_do_not(tmp_path):
    file = tmp_path / "a.tif"
    with rasterio.open(
        file, "w", driver="GTiff", width=512, height=512, count=1, dtype="uint16", tiled=True
    ) as out:
        out.write(np.ones((1, 512, 512), np.uint16))
    head = file.read_bytes()
    assert excess(head) is None
    assert excess(head[:20]) is None
    first = struct.unpack_from("<I", head, 4)[0]
    hostile = bytearray(head)
    struct.pack_into("<I", hostile, first + 2 + 4, 2**31)
    assert "values" in (excess(bytes(hostile)) or "")
