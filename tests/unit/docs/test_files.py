"""Every file: links lead somewhere, nothing tells of the machine it was written on, and no module outgrows its story."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from defusedxml import ElementTree

from tests.fakes.checkout import ROOT, checked_in_files

MOST_LINES = 400
# Written apart, so that this file does not hold them itself.
REGISTRIES = tuple(
    "".join(parts)
    for parts in (
        ("pypi", ".org"),
        ("python", "hosted.org"),
        ("registry.", "npmjs"),
        ("registry.", "yarnpkg"),
        ("crates", ".io"),
        ("proxy.", "golang.org"),
        ("index-", "url"),
    )
)
LINK = re.compile(
    r"(?<!\\)\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)(?:\s+\"[^\"]*\")?\)|^\[[^\]]+\]:\s+(\S+)", re.MULTILINE
)
CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def markdown_files() -> list[Path]:
    return [path for path in checked_in_files() if path.suffix == ".md"]


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings get on GitHub."""
    found: set[str] = set()
    for heading in re.findall(
        r"^#{1,6} (.+?)\s*$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    ):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 0
        while (name := slug if number == 0 else f"{slug}-{number}") in found:
            number += 1
        found.add(name)
    return found


def links(page: Path) -> Iterator[str]:
    for inline, reference in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        yield inline or reference


@pytest.mark.parametrize("page", markdown_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        path, _, anchor = link.partition("#")
        target = page if not path else (page.parent / unquote(path)).resolve()
        missing = not target.exists() or not target.is_relative_to(ROOT)
        if missing or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_found_from_the_index() -> None:
    docs = ROOT / "docs"
    linked = {(docs / link.partition("#")[0]).resolve() for link in links(docs / "README.md")}
    pages = {path for path in checked_in_files() if path.is_relative_to(docs) and path.suffix in (".md", ".json")}
    assert pages - linked == {docs / "README.md"}


def test_every_drawing_can_be_drawn_and_be_read_aloud() -> None:
    drawings = [path for path in checked_in_files() if path.suffix == ".svg" and path.is_relative_to(ROOT / "docs")]
    assert drawings
    for drawing in drawings:
        root = ElementTree.fromstring(drawing.read_text(encoding="utf-8"))
        named = {child.get("id"): child.text for child in root if child.tag.endswith(("}title", "}desc"))}
        assert all(named[name] for name in str(root.get("aria-labelledby")).split())
        assert "prefers-color-scheme: dark" in drawing.read_text(encoding="utf-8")


def texts() -> Iterator[tuple[str, str]]:
    for path in checked_in_files():
        content = path.read_bytes()
        if b"\0" not in content:
            yield path.relative_to(ROOT).as_posix(), content.decode("utf-8", "replace")


def test_no_file_tells_of_the_machine_it_was_written_on() -> None:
    # A root such as "/app" would be found in every other sentence.
    here = [f"{place}/" for place in (str(ROOT), str(Path.home())) if place.count("/") > 1 or place == "/root"]
    told = {(name, place) for name, text in texts() for place in here if place in text}
    assert told == set()
    assert [name for name, text in texts() if re.search(r"(?<![\w.<])/(?:home|Users)/[a-z]+/", text)] == []


def test_no_file_names_a_package_registry() -> None:
    named = {(name, host) for name, text in texts() for host in REGISTRIES if host in text}
    # The Makefile tells the locking tool to leave such addresses out.
    assert named == {("Makefile", REGISTRIES[-1])}


def test_every_module_tells_one_story() -> None:
    sizes = {
        path.relative_to(ROOT).as_posix(): path.read_bytes().count(b"\n")
        for path in checked_in_files()
        if path.suffix == ".py" and not path.is_relative_to(ROOT / "tests")
    }
    assert {name: lines for name, lines in sizes.items() if lines > MOST_LINES} == {}
