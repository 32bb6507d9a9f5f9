"""The table of capabilities says what the adapters declare, and every kind of media server has its page."""

from __future__ import annotations

import re

import pytest

from monitor.servers.factory import BUILT_IN
from monitor.servers.table import page_of, table, with_table
from tests.fakes.checkout import ROOT

PAGES = ROOT / "docs" / "media-servers"


def test_the_table_is_up_to_date() -> None:
    page = (PAGES / "README.md").read_text(encoding="utf-8")

    assert with_table(page) == page, "run: python -m monitor.servers.table docs/media-servers/README.md"


def test_every_kind_has_a_row_and_a_page_that_is_listed() -> None:
    documents = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page_of(kind) for kind in BUILT_IN}

    assert {path.name for path in PAGES.glob("*.md")} == pages | {"README.md"}
    assert set(re.findall(r"^\| \[`\w+`\]\((\S+)\)", table(), re.MULTILINE)) == pages
    assert {page for page in pages if f"(media-servers/{page})" not in documents} == set()


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_page_shows_an_entry_of_its_kind_and_says_what_happens_without_livecordon(kind: str) -> None:
    page = (PAGES / page_of(kind)).read_text(encoding="utf-8")

    assert f"kind: {kind}" in page
    assert kind in {"static", "embedded"} or re.search(r"^## When Livecordon is (down|away)", page, re.MULTILINE)


def test_a_page_without_a_place_for_it_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        with_table("# Media servers")
