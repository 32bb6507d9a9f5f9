"""Applications of media servers with virtual hosts: one name for both.

On the default virtual host an application is called by its own name, as publishers know it; on any other, and where its
own name holds a slash, by ``vhost/app``. Names of virtual hosts hold no slash, so that no two applications share a name.
"""

from __future__ import annotations


def qualified(vhost: str, app: str, *, default: str) -> str:
    """Return the application's name as in `StreamRef.app`; `default` is the name of the default virtual host."""
    return app if vhost == default and "/" not in app else f"{vhost}/{app}"


def split(name: str, *, default: str) -> tuple[str, str]:
    """Return virtual host and application for a name that `qualified` made."""
    vhost, slash, app = name.partition("/")
    return (vhost, app) if slash else (default, name)
