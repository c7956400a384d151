"""The license of the released weights: its text, and the acceptance that is required before any use."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

from .. import bounded_json
from ..errors import FaceLiftError
from ..files import replacing
from .store import Store, make_folder


def text(store: Store) -> str | None:
    """Return the text of the license, or None if it has not been downloaded or imported yet."""
    try:
        return store.licence_file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def keep_text(store: Store, content: bytes) -> None:
    """Save the text of the license. Raises FaceLiftError if it cannot be written."""
    make_folder(store.folder)
    with replacing(store.licence_file) as temporary:
        temporary.write_bytes(content)


def accepted(store: Store) -> str | None:
    """Return when the license of this revision was accepted (ISO 8601), or None. A changed text is not accepted."""
    try:
        record = bounded_json.read(store.acceptance_file)
        same = record["revision"] == store.catalogue.revision and record["sha256"] == text_checksum(store)
        return str(record["accepted"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def text_checksum(store: Store) -> str:
    """Return the SHA-256 of the license's text. Raises OSError if there is none."""
    return hashlib.sha256(store.licence_file.read_bytes()).hexdigest()


def accept(store: Store) -> None:
    """Record that the user has read and accepts the license.

    Raises:
        FaceLiftError: the text is not available to read yet, or the record cannot be written.
    """
    content = text(store)
    if content is None:
        raise FaceLiftError(f"The {store.catalogue.licence} has not been downloaded yet, so it cannot be accepted.")
    record = {
        "licence": store.catalogue.licence,
        "repository": store.catalogue.repository,
        "revision": store.catalogue.revision,
        "sha256": text_checksum(store),
        "accepted": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with replacing(store.acceptance_file) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def revoke(store: Store) -> None:
    """Withdraw the acceptance. The weights stay on disk but can no longer be used."""
    try:
        store.acceptance_file.unlink(missing_ok=True)
    except OSError as error:
        raise FaceLiftError(f"Cannot remove {store.acceptance_file}: {error.strerror}.") from None


def require(store: Store) -> None:
    """Raise FaceLiftError unless the license is accepted."""
    if accepted(store) is None:
        raise FaceLiftError(
            f"The {store.catalogue.licence} of the weights “{store.catalogue.name}” is not accepted; read and accept "
            "it with “facelift weights licence --accept”, or remove them with “facelift weights remove”."
        )
