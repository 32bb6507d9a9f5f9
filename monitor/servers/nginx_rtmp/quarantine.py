"""The names under which held streams go on where no viewer finds them.

nginx-rtmp can move a publisher to another name while its encoder stays connected. Whoever knew the new name could go on
watching, so it cannot be guessed; and it says, to whoever has the key, which name it stands for, so that a daemon that
starts again knows what it held.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from monitor.errors import UnsafeCallRefused
from monitor.servers.nginx_rtmp.names import is_safe
from monitor.vocabulary import StreamRef

_PREFIX = "held-"
# nginx writes HLS files under the name with an ending after it, and no file's name may be longer than 255 bytes.
_MOST_BYTES = 200
_PURPOSE = b"nginx-rtmp quarantine names"


class QuarantineNames:
    """Turns names into quarantine names under one key, and back; the same name gives the same one again.

    Args:
        key: Secret. Without one a new key is made, and nothing that was held before is recognised.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._cipher = AESSIV(hmac.new(key or secrets.token_bytes(32), _PURPOSE, hashlib.sha256).digest())

    def name_for(self, ref: StreamRef) -> str:
        """Return the quarantine name of a stream.

        Raises:
            UnsafeCallRefused: the stream could not be moved there, or not back, by its name.
        """
        if not is_safe(ref.name):
            raise UnsafeCallRefused("a stream of this name could be taken from its viewers, but not given back")
        hidden = self._cipher.encrypt(ref.name.encode("ascii"), [ref.app.encode()])
        name = _PREFIX + base64.urlsafe_b64encode(hidden).rstrip(b"=").decode("ascii")
        if len(name) > _MOST_BYTES:
            raise UnsafeCallRefused("the stream's name is too long to be hidden in another")
        return name

    def true_ref(self, ref: StreamRef) -> StreamRef | None:
        """Return the stream that is held under this name; None if it is an ordinary name."""
        if not ref.name.startswith(_PREFIX):
            return None
        text = ref.name.removeprefix(_PREFIX)
        try:
            hidden = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            name = self._cipher.decrypt(hidden, [ref.app.encode()]).decode("ascii")
        except (binascii.Error, InvalidTag, ValueError):
            return None
        found = StreamRef(ref.server, ref.app, name)
        # Base64 has several spellings of one value; only the one that we use is ours.
        return found if self.name_for(found) == ref.name else None
