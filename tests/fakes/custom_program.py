"""What an operator might write for a media server of their own, here the embedded relay: a program of one file.

    custom_program.py http://relay list|cut|hold|release|block|unblock [SESSION]

reads the question from standard input and writes the answer, as docs/media-servers/custom.md says.
"""

from __future__ import annotations

import http.client
import json
import sys
from typing import Any


def listing(relay: str, listed: dict[str, Any]) -> dict[str, Any]:
    """Return the relay's list in the words that Livecordon reads."""
    return {
        "streams": [
            {
                "app": one["app"],
                "name": one["name"],
                "session": one["session"],
                "url": f"{relay}/control/watch/{one['app']}/{one['name']}",
                "publisher_address": one["address"],
                "started_at": one["started_at"],
                "viewers": one["viewers"],
                "held": one["held"],
            }
            for one in listed["streams"]
        ]
    }


def command(asked: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return where on the relay, and what, to post for a question."""
    about = {key: asked[key] for key in ("app", "name", "session")}
    if asked["call"] == "cut":
        return "/control/cut", about
    return "/control/hold", about | {"held": asked["call"] == "hold"}


def main() -> int:
    relay, word, *session = sys.argv[1:]
    asked = json.load(sys.stdin)
    if asked["call"] != word or (session and session != [asked["session"]]):
        return 64
    connection = http.client.HTTPConnection(relay.removeprefix("http://"), timeout=5)
    try:
        if word == "list":
            connection.request("GET", "/control/streams")
        else:
            path, body = command(asked)
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = json.load(answer)
    except OSError:
        return 75
    json.dump(listing(relay, said) if word == "list" else {"matched": said["matched"]}, sys.stdout)
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
