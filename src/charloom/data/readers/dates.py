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


def iso_date(text: str) -> str:
    """Return a date, in ISO 8601 or as in mail, in ISO 8601; in UTC if its zone is known.

    It is "" if it is none.
    """
    text = text.strip()[:64]
    try:
        date: datetime | None = datetime.fromisoformat(text)
    except ValueError:
        date = mail_time(text)
    try:
        date = date.astimezone(UTC) if date and date.tzinfo else date
    except OverflowError:
        return ""
    iso = date.isoformat(timespec="seconds").replace("+00:00", "Z") if date else ""
    return iso[:10] if len(text) == 10 else iso


def date_of_seconds(seconds: float) -> str:
    """Return the ISO 8601 date of a time since 1970; "" if it is none of our calendar."""
    try:
        return iso_date(datetime.fromtimestamp(seconds, UTC).isoformat())
    except (ValueError, OverflowError, OSError):
        return ""


def mail_time(text: str) -> datetime | None:
    """Return a time as in mail, in UTC if it has no zone; None if it is no time."""
    try:
        time = parsedate_to_datetime(re.sub(r"\s+", " ", text).strip())
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        time.timestamp()
    except Exception:  # what the library raises depends on how the date is wrong
        return None
    return time
