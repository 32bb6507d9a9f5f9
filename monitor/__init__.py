"""Livecordon: a live-stream crisis-protocol monitor that runs beside a media server."""

__version__ = "0.1.0"
