"""What somebody wrote in a letter, without what others had written and what is at every end."""

import re
from collections.abc import Iterable, Iterator

from charloom.data.readers import Report

LINE = 300  # characters, at most, of one that says who wrote what is quoted

_VERBS = (
    r"wrote|writes|said|schrieb|a écrit|escribió|escreveu|ha scritto|schreef|skrev|kirjoitti|"
    r"napisała?|пишет|написала?|писала?|写道|のメール"
)
_TIME = r"\d{1,2}[:.]\d\d|\b(?:19|20)\d\d\b|@"
_ATTRIBUTION = re.compile(rf"(?:{_VERBS}|{_TIME}).*:\s*$", re.IGNORECASE | re.DOTALL)
_OPENING = re.compile(
    rf"(?:On|Am|Le|El|Em|Il|Op|Den|At|In|Dnia|W dniu)\b.*(?:{_TIME}|\d)|\d{{4}}[-/年]"
)
_REST = re.compile(
    r"^(?:-{2,} ?(?:original message|ursprüngliche nachricht|message d'origine|mensaje original|"
    r"mensagem original|messaggio originale|oorspronkelijk bericht|исходное сообщение|"
    r"forwarded (?:message|by).*|weitergeleitete nachricht) ?-{2,}|begin forwarded message:|"
    r"_{20,}\n(?:from|von|de|da|van): .*|"
    r"(?:(?:from|von|de|da|van|sent|gesendet|envoyé|enviado|inviato|verzonden|to|an|à|para|a|aan|"
    r"date|datum|fecha|cc|subject|betreff|objet|asunto|assunto|oggetto|onderwerp) ?: .*\n){3,})",
    re.IGNORECASE | re.MULTILINE,
)
_SIGNATURE = re.compile(r"^-- $|^--$(?=(?:\n.*){0,8}\Z)", re.MULTILINE)
_FOOTER = re.compile(r"^_{20,}\n(?=.*mailing list)", re.MULTILINE | re.IGNORECASE)
_DEVICE = re.compile(
    r"^(?:sent from (?:my|mail for|yahoo|outlook)|get outlook for|von meinem .{1,30} gesendet|"
    r"envoyé de mon|enviado desde mi|enviado do meu|inviato da(?:l mio)? |verstuurd vanaf mijn)"
    r".*\s*\Z",
    re.IGNORECASE | re.MULTILINE,
)
_BLOCKS = re.compile(
    r"^-----BEGIN PGP (?P<kind>SIGNATURE|MESSAGE|PUBLIC KEY BLOCK)-----$.*?"
    r"^-----END PGP (?P=kind)-----$|^begin [0-7]{3} \S[^\n]*$.*?^end$",
    re.MULTILINE | re.DOTALL,
)
_SCRUBBED = re.compile(  # by archives of mailing lists
    r"^-{14} next part -{14}\n(?:An? .* (?:was scrubbed|attachment was).*\n?(?:\S.*\n?)*)?",
    re.MULTILINE,
)
_SIGNED = re.compile(r"^-----BEGIN PGP SIGNED MESSAGE-----\n(?:\w+: .*\n)*\n?", re.MULTILINE)


def own_words(text: str, report: Report) -> str:
    """Return a letter without quotes, what was forwarded and signatures, which are counted."""
    text, blocks = _BLOCKS.subn("", _SIGNED.sub("", text))
    text, scrubbed = _SCRUBBED.subn("", text)
    if blocks + scrubbed:
        report.left_out["attachments"] += blocks + scrubbed
    for end in (_SIGNATURE, _FOOTER, _DEVICE):
        if match := end.search(text):
            text = text[: match.start()]
            report.left_out["signatures"] += 1
    if match := _REST.search(text):
        report.left_out["quoted lines"] += text.count("\n", match.start()) + 1
        text = text[: match.start()]
    return "\n".join(_unquoted(text.split("\n"), report))


def unwrapped(text: str, delete_space: bool) -> str:
    """Return a text with format=flowed (RFC 3676) as paragraphs; quotes keep their marks."""
    return "\n".join(_paragraphs(text.split("\n"), delete_space))


def _paragraphs(found: Iterable[str], delete_space: bool) -> Iterator[str]:
    held, held_depth = "", -1  # what goes on in the next line, if any
    for line in found:
        rest = line.lstrip(">")
        depth = len(line) - len(rest)
        rest = rest.removeprefix(" ")  # was stuffed
        is_signature = rest == "-- "
        if held_depth >= 0 and (depth != held_depth or is_signature):
            yield _marked(held, held_depth)
            held, held_depth = "", -1
        held += rest
        if rest.endswith(" ") and not is_signature:
            held, held_depth = held[:-1] if delete_space else held, depth
        else:
            yield _marked(held, depth)
            held, held_depth = "", -1
    if held_depth >= 0:
        yield _marked(held, held_depth)


def _marked(line: str, depth: int) -> str:
    return ">" * depth + " " * (depth > 0) + line


def _unquoted(found: list[str], report: Report) -> list[str]:
    """Return lines without those that begin with >, and without who wrote these."""
    kept: list[str] = []
    in_quote = False
    for line in found:
        if line.startswith(">"):
            report.left_out["quoted lines"] += 1
            if not in_quote:
                _drop_attribution(kept, report)
            in_quote = True
        elif line.strip() or not (in_quote and (not kept or not kept[-1].strip())):
            kept.append(line)
            in_quote = in_quote and not line.strip()
    return kept


def _drop_attribution(kept: list[str], report: Report) -> None:
    """Take "On this day somebody wrote:" off the end of some lines, which may be three."""
    while kept and not kept[-1].strip():
        kept.pop()
    short = [bool(line.strip()) and len(line) <= LINE for line in kept[-3:]]
    lengths = [n for n in (1, 2, 3) if n <= len(short) and all(short[-n:])]
    found = [n for n in lengths if _ATTRIBUTION.search("\n".join(kept[-n:]))]
    if found:
        length = next((n for n in reversed(found) if _OPENING.match(kept[-n])), found[0])
        report.left_out["quoted lines"] += length
        del kept[-length:]
    if kept and kept[-1].strip():
        kept.append("")
