"""Catalogues by name, address and file; keys and signatures."""

import dataclasses
import threading

import pytest

from seco.collect.catalogs import PRESETS, catalog_of, require_keys, signer_of
from seco.errors import CatalogError, FetchError


def test_presets_are_gentle_and_whole():
    assert set(PRESETS) == {"earth-search", "planetary-computer", "cdse"}
    for catalog in PRESETS.values():
        assert catalog.url.startswith("https://")
        assert catalog.collection == "sentinel-2-l2a"
        assert 0 < catalog.limits.requests_a_second <= 5
        assert catalog.limits.retries <= 10
        assert catalog.limits.timeout_s <= 120
        assert catalog.folder is None
    assert catalog_of("earth-search", collection="sentinel-2-c1-l2a").collection == "sentinel-2-c1-l2a"


def test_any_api():
    found = catalog_of("http://127.0.0.1:8643/")
    assert (found.kind, found.url, found.collection) == ("api", "http://127.0.0.1:8643", None)
    assert found.server_filters == "none"
    assert found.tile_field is None


def test_files_and_folders(tmp_path):
    (tmp_path / "catalog.json").write_text("{}")
    assert catalog_of(str(tmp_path)).kind == "static"
    (tmp_path / "items.parquet").write_text("")
    found = catalog_of(str(tmp_path))
    assert (found.kind, found.folder) == ("parquet", tmp_path.resolve())


@pytest.mark.parametrize(
    "text", ["", "nope", "ftp://e.org", "file:///etc/passwd", "https://", "/etc/passwd", "http://user:secret@e.org/v1",
     "https://e.org/v1?key=secret", "https://e.org/v1#secret"]
)  # fmt: skip
def test_what_is_no_catalogue(text):
    with pytest.raises(CatalogError) as caught:
        catalog_of(text)
    assert "secret" not in str(caught.value)


def test_keys(monkeypatch):
    cdse = PRESETS["cdse"]
    for key in cdse.keys:
        monkeypatch.delenv(key, raising=False)
    with pytest.raises(CatalogError, match=r"CDSE_ACCESS_KEY_ID, CDSE_SECRET_ACCESS_KEY.*earth-search"):
        require_keys(cdse)
    for key in cdse.keys:
        monkeypatch.setenv(key, "hush")
    assert set(require_keys(cdse)) == set(cdse.keys)
    assert require_keys(PRESETS["earth-search"]) == {}


def test_no_signature_where_none_is_needed():
    signer = signer_of(PRESETS["earth-search"])
    signer.renew()
    assert signer.sign("https://e.org/a.tif") == "https://e.org/a.tif"


@pytest.fixture
def tokens(monkeypatch):
    """A signing service that hands out numbered tokens, each good for an hour."""
    import datetime as dt

    from planetary_computer import sas

    given = []
    monkeypatch.setattr(sas, "TOKEN_CACHE", {})

    def get_token(account, container, **_):
        key = f"{account}/{container}"
        if key not in sas.TOKEN_CACHE or sas.TOKEN_CACHE[key].ttl() <= 60:
            given.append(key)
            expiry = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
            token = sas.SASToken(**{"msft:expiry": expiry, "token": f"sig={len(given)}"})
            sas.TOKEN_CACHE[key] = token
        return sas.TOKEN_CACHE[key]

    monkeypatch.setattr(sas, "get_token", get_token)
    return given


HREF = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/60/V/a.tif"


def test_signatures_are_kept_and_renewed(tokens):
    signer = signer_of(PRESETS["planetary-computer"])
    signed = []
    threads = [threading.Thread(target=lambda: signed.append(signer.sign(HREF))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(signed) == {f"{HREF}?sig=1"}
    assert len(tokens) == 1
    signer.renew()
    assert signer.sign(HREF) == f"{HREF}?sig=2"
    assert signer.sign("https://e.org/a.tif") == "https://e.org/a.tif"  # no stranger gets a signature


def test_signing_that_fails_is_one_line(monkeypatch):
    import planetary_computer as pc

    def fail(href):
        raise RuntimeError("token=secret")

    monkeypatch.setattr(pc, "sign", fail)
    with pytest.raises(FetchError, match="cannot sign") as caught:
        signer_of(PRESETS["planetary-computer"]).sign(HREF)
    assert "secret" not in str(caught.value)


def test_catalogues_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["earth-search"].url = "x"
