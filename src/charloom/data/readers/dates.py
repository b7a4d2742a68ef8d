"""Times as programs write them."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def iso_time(text: object) -> datetime | None:
    """Return an ISO 8601 time without its zone, in UTC if it has one; None if it is no time."""
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    except (ValueError, OverflowError):
        return None


def mail_time(text: str) -> datetime | None:
    """Return a time as in mail, in UTC if it has no zone; None if it is no time."""
    try:
        time = parsedate_to_datetime(re.sub(r"\s+", " ", text).strip())
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        time.timestamp()
    except Exception:  # what the library raises depends on how the date is wrong
        return None
    return time
