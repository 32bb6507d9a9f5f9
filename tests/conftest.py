"""What every test shares: programs that some need, and what happens when they are missing."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.fakes.checkout import NODE_MEDIA_SERVER, WEBHOOK_VERIFIER
from tests.fakes.postgres import postgres_programs

# How long an example takes says something about the machine, nothing about the code.
settings.register_profile("livecordon", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("livecordon")

_RTMP_MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")


_PROGRAMS: dict[str, tuple[str, ...]] = {
    "real_server": ("nginx", "ffmpeg"),
    "browser": ("chromium", "chromedriver"),
    "node_media_server": ("node", "ffmpeg"),
    "alertmanager": ("prometheus-alertmanager",),
    "webhook_verifier": ("node",),
    "postgres": (),
}
_FILES: dict[str, tuple[Path, str]] = {
    "real_server": (_RTMP_MODULE, "libnginx-mod-rtmp"),
    "node_media_server": (NODE_MEDIA_SERVER, "node-media-server"),
    "webhook_verifier": (WEBHOOK_VERIFIER, "the package standardwebhooks of npm"),
}


def _missing_for(marker: str) -> list[str]:
    missing = [program for program in _PROGRAMS[marker] if shutil.which(program) is None]
    if marker in _FILES and not _FILES[marker][0].exists():
        missing.append(_FILES[marker][1])
    if marker == "postgres" and not postgres_programs():
        missing.append("postgresql")
    return missing


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, in whatever order, so that no worker is left with it when the others are done."""
    items.sort(key=lambda item: "unit" in item.path.parts)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in _PROGRAMS:
        if item.get_closest_marker(marker) is None:
            continue
        missing = _missing_for(marker)
        if not missing:
            continue
        reason = f"needs {', '.join(missing)}: make packages installs them"
        if os.environ.get("CI") == "true":
            # A test that cannot run proves nothing: in CI that is a failure, not a skip.
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def _scheduled_as_before() -> Iterator[None]:
    """A test that leaves us a real-time process starves all that come after it; see `tests.fakes.footage`."""
    before = os.sched_getscheduler(0)
    yield
    assert os.sched_getscheduler(0) == before


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Commands set up logging for their whole process; no test may see what another one set up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
