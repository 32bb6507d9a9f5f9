"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av

_CPU_INFO = Path("/proc/cpuinfo")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, system, versions of what decodes, and how busy the machine was before."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "pyav": av.__version__,
        "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
        "opencv": version("opencv-python-headless"),
        "onnxruntime": version("onnxruntime"),
        "ffmpeg": _ffmpeg(),
        "load_before": load_now(),
    }


def load_now() -> float:
    """Return the machine's load over the last minute."""
    return round(os.getloadavg()[0], 2)


def _processor() -> str:
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    told = {}
    for line in reversed(lines):
        name, _, value = line.partition(":")
        told[name.strip()] = value.strip()
    name = told.get("model name") or platform.processor() or "unknown processor"
    if "cpu family" in told:
        # Virtual machines often hide the name, but not these.
        name += f" (family {told['cpu family']}, model {told.get('model', '?')})"
    return name


def _ffmpeg() -> str | None:
    """Return the version of the command line tool, or None where there is none."""
    if shutil.which("ffmpeg") is None:
        return None
    told = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=False, timeout=30)  # noqa: S607 - the user's own
    words = told.stdout.split()
    return words[2] if told.returncode == 0 and len(words) > 2 else None
