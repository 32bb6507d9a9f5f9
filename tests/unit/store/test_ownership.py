from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.errors import StoreError
from monitor.store.ownership import sole_owner

HOLD = """
import sys, time
from pathlib import Path
from monitor.store.ownership import sole_owner
with sole_owner(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_daemon_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    store = tmp_path / "data" / "store.sqlite3"
    with sole_owner(store):
        with pytest.raises(StoreError, match="another Livecordon daemon") as caught, sole_owner(store):
            pytest.fail("two at once")
        assert (caught.value.reason, caught.value.retryable) == ("in_use", False)
    with sole_owner(store):
        pass


def test_a_killed_daemon_holds_nothing(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite3"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(store)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreError), sole_owner(store):
            pytest.fail("two at once")
        holder.send_signal(signal.SIGKILL)
    with sole_owner(store):
        pass


def test_a_folder_that_cannot_be_written_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"), sole_owner(tmp_path / "file" / "store.sqlite3"):
        pytest.fail("held")
