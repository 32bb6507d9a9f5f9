from __future__ import annotations

from pathlib import Path

import pytest

from monitor.errors import ProblemsError
from monitor.evaluation.listing import read_listing

HEADING = "path,label,dataset,group,licence\n"


def listing(folder: Path, text: str | bytes) -> Path:
    path = folder / "clips.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_rows_are_found_where_the_list_lies_or_the_root_says(tmp_path: Path) -> None:
    path = listing(tmp_path, "licence, dataset ,label,path,note\nMIT,ours, Violence ,a.mp4,x\n\n,ours,normal,b/c.mp4\n")
    rows, skipped = read_listing(path)
    assert skipped == []
    assert [(row.line, row.path, row.file, row.violent) for row in rows] == [
        (2, "a.mp4", tmp_path / "a.mp4", True),
        (4, "b/c.mp4", tmp_path / "b/c.mp4", False),
    ]
    rooted, _ = read_listing(path, tmp_path / "elsewhere")
    assert rooted[0].file == tmp_path / "elsewhere" / "a.mp4"


def test_without_a_group_each_clip_is_its_own(tmp_path: Path) -> None:
    path = listing(tmp_path, HEADING + "a,normal,d,,MIT\nb,normal,d,,MIT\nc,normal,d,b,MIT\n")
    rows, _ = read_listing(path)
    assert [row.grouped for row in rows] == [False, False, True]
    # Not even a group that is called like a file is that file's.
    assert len({row.group for row in rows}) == 3


def test_bad_rows_are_listed_and_the_others_kept(tmp_path: Path) -> None:
    text = "\ufeff" + HEADING + "a,fight,d,g\n,normal,d,g\nb,normal\nc,normal,d,g\nc,violence,d,g\nd,normal,d,g\n"
    rows, skipped = read_listing(listing(tmp_path, text))
    assert [row.path for row in rows] == ["c", "d"]
    assert [(one.line, one.reason) for one in skipped] == [
        (2, "unknown_label"),
        (3, "no_path"),
        (4, "no_dataset"),
        (6, "listed_twice"),
    ]
    assert skipped[0].what == "the label is 'fight', neither violence nor normal"
    assert skipped[3].what == "line 5 lists the same file"


@pytest.mark.parametrize(
    ("text", "line", "where", "said"),
    [
        ("path,label,group\na,normal,g\n", 1, "dataset", "no such column"),
        ("\n\npath,label,dataset,path\n", 3, "path", "twice"),
        ("", 1, "", "empty"),
        (HEADING, None, "", "no rows"),
        (HEADING + 'a,"normal,d\n', 2, "", "no CSV"),
        (b"path,label,dataset\n\xff\xfe,normal,d\n", None, "", "UTF-8"),
    ],
)
def test_a_list_that_cannot_be_used_says_where_and_how_to_mend_it(
    tmp_path: Path, text: str | bytes, line: int | None, where: str, said: str
) -> None:
    path = listing(tmp_path, text)
    with pytest.raises(ProblemsError) as raised:
        read_listing(path)
    (problem,) = raised.value.problems
    assert (problem.file, problem.line, problem.where) == (str(path), line, where)
    assert said in problem.what
    assert problem.mend


def test_all_missing_columns_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError) as raised:
        read_listing(listing(tmp_path, "file,kind\na,b\n"))
    assert [problem.where for problem in raised.value.problems] == ["path", "label", "dataset"]


def test_a_missing_list_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match="cannot be read"):
        read_listing(tmp_path / "nowhere.csv")
