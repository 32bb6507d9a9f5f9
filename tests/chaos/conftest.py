"""Recorded footage for every test with a real daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.recordings import record_footage


@pytest.fixture(scope="session")
def brawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_footage(tmp_path_factory.mktemp("footage"), violent=True)


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_footage(tmp_path_factory.mktemp("footage"), violent=False)
