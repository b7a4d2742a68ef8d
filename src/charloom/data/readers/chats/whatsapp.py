"""WhatsApp's exported chats, as iOS and Android write them in the languages they speak."""

import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from io import BytesIO
from itertools import pairwise
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

from charloom.data.readers import Bundle, Document, Head, Job, Kind
from charloom.data.readers.chats.lines import Message, chat
from charloom.data.readers.members import Members
from charloom.data.readers.plain import clean, head_text, lines
from charloom.errors import CharloomError

SHARE = 1 / 3  # of a chat's lines, at least, that begin a message

_MARK = "\u200e"  # WhatsApp puts it before its own words
_MARKS = "[\u200e\u200f\u202a-\u202c\ufeff]*"
_DATE = r"(\d{1,4})([./-]) ?(\d{1,2})[./-] ?(\d{1,4})\.?"
_CLOCK = r"(\d{1,2})[:.](\d{2})(?:[:.]\d{2})?"
_WORD = r"(\D{0,12}?)"  # which half of the day it is, "at"
_STAMPS = tuple(
    re.compile(_MARKS + form, re.DOTALL)
    for form in (
        rf"\[{_DATE}[,،]?\s+{_WORD}{_CLOCK}{_WORD}\] (.*)",  # iOS
        rf"{_DATE}[,،]?\s+{_WORD}{_CLOCK}{_WORD}\s[-–]\s(.*)",  # Android
        rf"{_DATE}[,،]?\s+(){_CLOCK}([ \u202f]?[AaPp]\.? ?[Mm]\.?|): (.*)",  # iOS, long ago
    )
)
_NAME = re.compile(rf"{_MARKS}(?:~[ \u202f\xa0]?)?([^:\n]{{1,80}}): ?(.*)", re.DOTALL)
_LEVEL = re.compile(r"\b(?:info|error|warn|warning|debug|notice|critical|fatal|trace)\b", re.I)
_AFTERNOON = {"pm", "下午", "晚上", "오후", "午後", "م", "μμ", "nm", "em", "ip"}
_MORNING = {"am", "上午", "凌晨", "오전", "午前", "ص", "πμ", "vm", "fm", "ap"}

_OWN_WORDS = re.compile(rf"(?:^|(?<=\s)){_MARK}[^\n]*")  # media, deleted, edited
_OMITTED = re.compile(
    "<[^<>\n]{3,60}>|(?i:image|video|audio|sticker|gif|document|contact card|bild|dokument|"
    "kontaktkarte|imagen|vídeo|documento|tarjeta de contacto|imagem|figurinha|foto|vidéo|"
    "carte de contact|immagine|scheda contatto|afbeelding|contactkaart|изображение|видео|аудио|"
    "стикер|документ) (?:omitted|weggelassen|ausgeschlossen|omitid[oa]|omise?|absente?|omess[oa]|"
    "ocultad[oa]|weggelaten|отсутствует|пропущен[оа]?)"
)
_ATTACHED = re.compile(
    r"^[\w-]+\.\w{2,5} (?:\([^()\n]{4,40}\)|<\u200e?[^<>\n]{4,40}>)$", re.MULTILINE
)
_EDITED = re.compile(
    " ?<[^<>\n]*(?:edited|bearbeitet|modifié|editad[oa]|modificat[oa]|bewerkt|измен)[^<>\n]*>$"
)
_DELETED = (
    *("This message was deleted", "You deleted this message"),
    *("Diese Nachricht wurde gelöscht", "Du hast diese Nachricht gelöscht"),
    *("Se eliminó este mensaje", "Este mensaje fue eliminado", "Eliminaste este mensaje"),
    *("Ce message a été supprimé", "Vous avez supprimé ce message"),
    *("Questo messaggio è stato eliminato", "Hai eliminato questo messaggio"),
    *("Essa mensagem foi apagada", "Esta mensagem foi apagada", "Mensagem apagada"),
    *("Você apagou esta mensagem", "Dit bericht is verwijderd", "Данное сообщение удалено"),
)
_ENCRYPTION = re.compile(
    "end-to-end|ende-zu-ende|extremo a extremo|bout en bout|ponta a ponta|crittografi|сквозн|"
    "uçtan uca|端到端|엔드투엔드|エンドツーエンド",
    re.IGNORECASE,
)
_TITLE = re.compile(r"^WhatsApp[ -]Chat(?: - | with | mit | con | avec | com | met )?", re.I)
_MEMBER = re.compile(r"(?:^|/)(?:_chat|WhatsApp[^/]*)\.txt$", re.IGNORECASE)
_TEXT = (".txt", ".md", ".html", ".htm", ".csv", ".json")

Triple = tuple[int, int, int]


class Stamped(NamedTuple):
    """A message as it is in the file: the three numbers of its date, and when on that day."""

    numbers: Triple
    time: time | None
    text: str


def _is_chat(head: Head) -> bool:
    """Whether a file is a chat: it begins with a stamped line, and so do many of its lines."""
    found = [line for line in head_text(head).split("\n") if line.strip()]
    form = _form(found[0]) if found else None
    if form is None:
        return False
    stamped = [match for line in found if (match := form.match(line))]
    names = [name[1] for match in stamped if (name := _NAME.match(match[match.lastindex or 0]))]
    levels = sum(_LEVEL.search(name) is not None for name in names)
    return len(stamped) >= SHARE * len(found) and 2 * levels < len(names)


def _read_file(file: BinaryIO, job: Job) -> Iterator[Document]:
    stem = PurePosixPath(job.label.replace("\\", "/")).stem
    yield from _documents(file, job, "", stem)


def _is_export(head: Head) -> bool:
    """Whether an archive is a chat with its media."""
    chats = [name for name in head.members if _MEMBER.search(name)]
    texts = [name for name in head.members if name.lower().endswith(_TEXT)]
    return bool(chats) and chats == texts


def _read_export(members: Members, job: Job) -> Iterator[Document]:
    for name in members.names():
        if not _MEMBER.search(name):
            job.report.left_out["media files"] += 1
            continue
        stem = PurePosixPath(name).stem
        if stem.lower() == "_chat":
            stem = PurePosixPath(members.label).stem
        file = BytesIO(members.read(name))
        label = f"{name} in {members.label}"
        yield from _documents(file, job._replace(label=label), name, stem)


def _documents(file: BinaryIO, job: Job, name: str, stem: str) -> Iterator[Document]:
    found = list(_stamped(lines(file, job), job))
    order = _order(found, job)
    messages = [
        Message(author, text, _datetime(stamped, order))
        for number, stamped in enumerate(found)
        for author, text in _said(stamped.text, job, number == 0)
    ]
    if not messages:
        message = f"{job.label} has no messages in it: export the chat again"
        raise CharloomError(message, "not-text", why="no messages", path=job.label)
    title = _TITLE.sub("", stem).strip() if _TITLE.match(stem) else stem
    yield from chat(messages, name, title)


def _form(line: str) -> re.Pattern[str] | None:
    return next((form for form in _STAMPS if form.match(line)), None)


def _stamped(found: Iterable[str], job: Job) -> Iterator[Stamped]:
    """Yield messages of any number of lines."""
    form, last, more = None, None, list[str]()
    for line in found:
        form = form or _form(line)
        if form and (match := form.match(line)):
            if last:
                yield last._replace(text="\n".join([last.text, *more]))
            first, _, second, third, before, hour, minute, after, text = match.groups()
            numbers = (int(first), int(second), int(third))
            last, more = Stamped(numbers, _time(hour, minute, before, after), text), []
        elif last:
            more.append(line)
        elif line.strip():
            job.report.left_out["lines before the first message"] += 1
    if last:
        yield last._replace(text="\n".join([last.text, *more]))


def _said(text: str, job: Job, is_first: bool) -> Iterator[tuple[str, str]]:
    """Yield who wrote what, unless it is the program's own."""
    match = _NAME.match(text)
    if not match or sum(match[1].count(quote) for quote in '"“”„«»') % 2:
        job.report.left_out["notices"] += 1
        return
    author, text = match[1], match[2]
    if is_first and _ENCRYPTION.search(text):
        job.report.left_out["notices"] += 1
        return
    text = _EDITED.sub("", text.rstrip())
    text = _ATTACHED.sub("", _OWN_WORDS.sub("", text)).strip()
    if not text or _OMITTED.fullmatch(text) or text.rstrip(".") in _DELETED:
        job.report.left_out["messages without text"] += 1
        return
    yield _unmarked(author).strip(), clean(_unmarked(text), job.report)


def _unmarked(text: str) -> str:
    """Return a text without the marks that WhatsApp puts around names and numbers."""
    return re.sub("[\u200e\u202a-\u202c\u2066-\u2069]", "", text)


def _time(hour: str, minute: str, before: str, after: str) -> time | None:
    """Return a time of day; which half of the day it is in may be said before it or after it."""
    hours, words = int(hour), {re.sub(r"[\W_]", "", word).lower() for word in (before, after)}
    if words & _AFTERNOON and hours < 12:
        hours += 12
    elif words & _MORNING and hours == 12:
        hours = 0
    try:
        return time(hours, int(minute))
    except ValueError:
        return None


def _order(found: list[Stamped], job: Job) -> str:
    """Return in which order day, month and year are: that in which time goes on."""
    numbers = [stamped.numbers for stamped in found]
    days = [new for old, new in zip([(0, 0, 0), *numbers], numbers, strict=False) if old != new]
    scores = {order: _backwards(days, order) for order in ("dmy", "mdy", "ymd")}
    if days and days[0][0] > 31:
        return "ymd"
    if scores["dmy"] == scores["mdy"] and any(day != month for day, month, _ in days):
        job.report.notes.append(
            f"the dates of {job.label} may be day/month or month/day, and were read as day/month"
        )
    return min(scores, key=lambda order: scores[order])


def _backwards(days: list[Triple], order: str) -> float:
    """Return how often a day is before the one before it; infinity if too many are no days."""
    dates = [found for day in days if (found := _date(day, order))]
    if len(dates) < 0.9 * len(days):
        return float("inf")
    return sum(new < old for old, new in pairwise(dates)) + len(days) - len(dates)


def _date(numbers: Triple, order: str) -> date | None:
    parts = dict(zip(order, numbers, strict=True))
    year = parts["y"] + (2000 if parts["y"] < 100 else 0)
    try:
        return date(year, parts["m"], parts["d"])
    except ValueError:
        return None


def _datetime(stamped: Stamped, order: str) -> datetime | None:
    day = _date(stamped.numbers, order)
    return datetime.combine(day, stamped.time or time()) if day else None


KINDS = (
    Bundle("a WhatsApp export", _is_export, _read_export, noun="chats"),
    Kind("a WhatsApp chat", _is_chat, _read_file, noun="chats"),
)
