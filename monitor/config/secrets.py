"""Secrets: found where the configuration says, checked, never shown."""

from __future__ import annotations

import base64
import binascii
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from monitor.config.section import Secret
from monitor.errors import ConfigError, Problem

MAX_SECRET_FILE_BYTES: Final = 64 * 1024
MIN_TOKEN_LENGTH: Final = 16
SIGNING_SECRET_BYTES: Final = range(24, 65)
"""Lengths that Standard Webhooks allows for the bytes behind ``whsec_``."""

SIGNING_KEY_BYTES: Final = (32, 64)
"""Lengths of an ed25519 key behind ``whsk_``: the private half, or both."""

_PUBLIC_KEY_BYTES: Final = 32
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")


def resolve_secret(secret: Secret, environ: Mapping[str, str]) -> SecretStr:
    """Return the secret's value, without white space around it.

    Raises:
        ConfigError: the variable is not set, the file cannot be read, or what it holds is empty. The one problem
            has no place (the caller knows where the secret is named), and quotes neither content nor path.
    """
    if secret.env is not None:
        return _from_environment(secret.env, environ)
    if secret.file is not None:
        return _from_file(secret.file)
    message = "a Secret names env or file"
    raise AssertionError(message)


def expand_variables(text: str, environ: Mapping[str, str]) -> str:
    """Return `text` with every ``${VARIABLE}`` replaced by its value.

    Raises:
        ConfigError: a variable is not set; one problem for each.
    """
    if missing := missing_variables(text, environ):
        raise ConfigError([Problem(shown_variable(name), "", "is not set", "set it") for name in missing])
    return _VARIABLE.sub(lambda match: environ[match[1]], text)


def missing_variables(text: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names in ``${…}`` that are unset or empty, in order, each once."""
    return tuple(dict.fromkeys(name for name in variables_in(text) if not environ.get(name)))


def variables_in(text: str) -> tuple[str, ...]:
    """Return the names in ``${…}``, in order."""
    return tuple(_VARIABLE.findall(text))


def shown_variable(name: str) -> str:
    """Return how a message may name a variable: one that is not all capitals could be a secret in the wrong place."""
    return f"environment variable {name}" if name.isupper() else "the environment variable that is named here"


def token_weakness(token: SecretStr) -> str | None:
    """Say, as ``what: mend``, why `token` cannot be a bearer token; None if it can."""
    value = token.get_secret_value()
    if _PRINTABLE.fullmatch(value) is None:
        return "the token holds characters that no HTTP header carries: use letters, digits and punctuation"
    if len(value) < MIN_TOKEN_LENGTH:
        return f"the token is shorter than {MIN_TOKEN_LENGTH} characters: make one with `openssl rand -hex 24`"
    return None


def signing_secret_weakness(secret: SecretStr) -> str | None:
    """Say, as ``what: mend``, why `secret` is no Standard Webhooks signing secret; None if it is."""
    mend = 'make one with `echo "whsec_$(openssl rand -base64 32)"`'
    value = secret.get_secret_value()
    if not value.startswith("whsec_"):
        return f"the signing secret does not start with whsec_: {mend}"
    try:
        key = base64.b64decode(value.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return f"what follows whsec_ is no base64: {mend}"
    if len(key) not in SIGNING_SECRET_BYTES:
        return f"the signing secret must hold 24 to 64 bytes, not {len(key)}: {mend}"
    return None


def signing_key_weakness(key: SecretStr) -> str | None:
    """Say, as ``what: mend``, why `key` is no private ed25519 key of Standard Webhooks; None if it is."""
    mend = "make one with `livecordon keys new`"
    value = key.get_secret_value()
    if not value.startswith("whsk_"):
        return f"the signing key does not start with whsk_: {mend}"
    try:
        content = base64.b64decode(value.removeprefix("whsk_"), validate=True)
    except (binascii.Error, ValueError):
        return f"what follows whsk_ is no base64: {mend}"
    if len(content) not in SIGNING_KEY_BYTES:
        return f"the signing key must hold 32 bytes, or 64 with its public half, not {len(content)}: {mend}"
    return None


def public_key_weakness(key: SecretStr) -> str | None:
    """Say, as ``what: mend``, why `key` is no public ed25519 key of Standard Webhooks; None if it is."""
    mend = "ask its owner for what `livecordon keys show` prints"
    value = key.get_secret_value()
    if not value.startswith("whpk_"):
        return f"the public key does not start with whpk_: {mend}"
    try:
        content = base64.b64decode(value.removeprefix("whpk_"), validate=True)
    except (binascii.Error, ValueError):
        return f"what follows whpk_ is no base64: {mend}"
    return None if len(content) == _PUBLIC_KEY_BYTES else f"a public key holds {_PUBLIC_KEY_BYTES} bytes: {mend}"


def readable_by_others(secret: Secret) -> bool:
    """Whether the secret lies in a file that every user of this machine may read."""
    if secret.file is None:
        return False
    try:
        return bool(secret.file.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _from_environment(name: str, environ: Mapping[str, str]) -> SecretStr:
    value = environ.get(name, "").strip()
    if not value:
        what = "is empty" if name in environ else "is not set"
        raise _unusable(f"{shown_variable(name)} {what}", "set it to the secret")
    return SecretStr(value)


def _from_file(file: Path) -> SecretStr:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_SECRET_FILE_BYTES)
    except OSError as failure:
        raise _unusable(f"the file cannot be read ({failure.strerror})", "check path and permissions") from None
    try:
        value = content.partition(b"\n")[0].decode().strip()
    except UnicodeDecodeError:
        raise _unusable("the file holds no text", "is it the right one?") from None
    if not value:
        raise _unusable("the first line of the file is empty", "put the secret there")
    return SecretStr(value)


def _unusable(what: str, mend: str) -> ConfigError:
    return ConfigError([Problem("", "", what, mend)])
