"""One tiny file per mistake, named by the mistake; its first lines say what an operator is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config.loading import load_config
from monitor.errors import ConfigError

BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))
CANARY = "canary"
ENVIRON = {
    "GOOD_TOKEN": "a-token-with-a-canary-0f6e2",
    "SHORT_TOKEN": "canary",
    "SIGNING_SECRET": "whsec_" + "canary00" * 5,
    "SHORT_SIGNING_SECRET": "whsec_canary00",
}


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_each_mistake_is_told_with_its_line_and_what_to_do(file: Path) -> None:
    lines = file.read_bytes().decode(errors="replace").splitlines()
    expected = [line.removeprefix("# expect: ") for line in lines if line.startswith("# expect: ")]
    with pytest.raises(ConfigError) as caught:
        load_config(file, ENVIRON)
    told = [str(problem).replace(str(file), "bad.yaml") for problem in caught.value.problems]
    assert told == expected
    assert all(problem.mend for problem in caught.value.problems)
    assert CANARY not in str(caught.value)


def test_there_are_many() -> None:
    assert len(BAD) >= 60
