import base64
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.readers import Document, Report
from charloom.data.readers.mail import kinds as mail
from charloom.data.readers.mail.letter import decoded
from charloom.data.readers.mail.mbox import messages
from charloom.data.readers.mail.replies import own_words, unwrapped
from charloom.data.text import read_text
from expect import refused
from readers import read_bundle, read_file, recognised, survive

START = datetime(2023, 5, 17, 12, tzinfo=UTC)


def letter(text: str, days: int = 0, **headers: str) -> bytes:
    found = {
        "From": "Ada Byrne <ada@example.org>",
        "Date": format_datetime(START + timedelta(days)),
        "Subject": f"Letter {days}",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    return "".join(f"{name}: {value}\n" for name, value in found.items()).encode() + (
        b"\n" + text.encode()
    )


def in_mbox(
    *letters: bytes, separator: str = "From ada@example.org Wed May 17 12:00:00 2023"
) -> bytes:
    return b"".join(separator.encode() + b"\n" + data + b"\n\n" for data in letters)


def read_letter(data: bytes, name: str = "letter.eml") -> tuple[Document, Report]:
    [document], report = read_file(mail.KINDS, data, name)
    return document, report


@pytest.mark.parametrize(
    "separator",
    [
        "From ada@example.org Wed May 17 12:00:00 2023",
        "From - Sat Jan 01 12:00:00 2000",
        "From 1234567890123456789@xxx Wed Jan 10 10:10:10 +0000 2024",
        "From ada at example.org  Wed May  3 09:05:00 2023",
        "From ada@example.org Wed May 17 12:00:00 CEST 2023 remote from relay",
        "From ada@example.org Wed, 17 May 2023 12:00:00 +0200",
        "From ???@??? Wed May 17 12:00:00 2023",
        "From nobody",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_mbox_is_split_where_messages_begin(separator: str, end: str) -> None:
    texts = [
        "From here on it rains.",
        "two\n\nFrom: me\nTo: you",
        "three\nFrom Ada with love\nx: y",
    ]
    data = in_mbox(*(letter(text, n) for n, text in enumerate(texts)), separator=separator)
    documents, _ = read_file(mail.KINDS, data.replace(b"\n", end.encode()))
    assert [d.text for d in documents] == texts
    assert [d.title for d in documents] == ["Letter 0", "Letter 1", "Letter 2"]
    assert (documents[0].author, documents[0].date) == ("Ada Byrne", "2023-05-17T12:00:00+00:00")


def test_what_was_quoted_in_an_mbox_is_as_it_was() -> None:
    [document], _ = read_file(mail.KINDS, in_mbox(letter(">From here on\n>>From there")))
    assert document.text == "From here on"
    assert document.text  # the second line is a quote by now
    kept, _ = read_letter(letter("From here on"))
    assert kept.text == "From here on"


def test_letters_are_in_the_order_of_their_dates() -> None:
    undated = letter("undated", 9).replace(b"Date: ", b"X-Date: ")
    data = in_mbox(letter("last", 5), letter("first", 1), undated, letter("second", 2))
    documents, _ = read_file(mail.KINDS, data)
    assert [d.text for d in documents] == ["first", "undated", "second", "last"]
    assert [d.name for d in documents] == ["message 2", "message 3", "message 4", "message 1"]


@pytest.mark.parametrize("size", [2**20 - 7, 2**20 - 3, 2**20, 2**20 + 3])
def test_a_separator_may_lie_between_two_chunks(size: int) -> None:
    first = letter("a line\n" * 200_000)
    separator = b"From ada@example.org Wed May 17 12:00:00 2023\n"
    data = separator + first[: size - len(separator) - 1] + b"\n" + separator + letter("two", 1)
    found = list(messages(BytesIO(data), Report()))
    assert [number for number, _ in found] == [1, 2]
    assert found[1][1] == letter("two", 1)


@pytest.mark.parametrize(
    "text",
    [
        "From fairest creatures we desire increase,\nThat thereby beauty's rose might never die,\n",
        "From: Berlin\nTo: Rome\n\nA train left at noon.\n",
        "Title: A post\nDate: 2023-05-17\nAuthor: Ada\n\nHello\n",
        "Ada: Hello\nTom: Hi\n\nThat was all.\n",
        "",
    ],
)
def test_what_is_no_mail(text: str) -> None:
    assert recognised(mail.KINDS, text.encode(), "poem.txt") is None


def test_a_file_of_apple_mail() -> None:
    data = letter("Hello")
    document, _ = read_letter(f"{len(data)}       \n".encode() + data + b"<plist/>\n", "1.emlx")
    assert document.text == "Hello"


def parts() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Zoë Ångström <zoe@example.org>"
    message["Subject"] = "Grüße aus Köln, und noch viel mehr als in eine einzige Zeile passen kann"
    message["Date"] = format_datetime(START)
    message.set_content("Plain words, with an ö.\n")
    message.add_alternative("<p>Other words</p>", subtype="html")
    message.add_attachment(b"\xff\xd8", maintype="image", subtype="jpeg", filename="a.jpg")
    message.add_attachment("some notes", filename="notes.txt")
    message.add_attachment(EmailMessage())
    return message


def test_plain_text_is_read_and_attachments_are_not() -> None:
    document, report = read_letter(bytes(parts()))
    assert document.text == "Plain words, with an ö."
    assert document.title == parts()["Subject"]
    assert document.author == "Zoë Ångström"
    assert report.left_out == {"attachments": 3}


def test_html_is_read_if_there_is_no_plain_text() -> None:
    pytest.importorskip("lxml")
    message = EmailMessage()
    message["From"], message["Date"] = "ada@example.org", format_datetime(START)
    message.set_content(" \n")
    html = (
        "<html><body><p>Dear Tom,</p><p>one<br>two</p><div class='gmail_signature'>Ada</div>"
        "<div>On Tue, 16 May 2023, Tom wrote:</div><blockquote type='cite'>Hello</blockquote>"
        "<blockquote>a poem</blockquote><div class='gmail_quote'>older</div></body></html>"
    )
    message.add_alternative(html, subtype="html")
    document, _ = read_letter(bytes(message))
    assert document.text == "Dear Tom,\n\none\ntwo\n\na poem"


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"Content_Type": "multipart/mixed; boundary=x"}, "Hello"),
        ({"Content_Type": "multipart/mixed"}, "Hello"),
        ({"Content_Type": "text/plain; name=a.txt"}, "Hello"),
        ({"Content_Disposition": "attachment"}, "Hello"),
        ({"Content_Type": "TEXT/PLAIN; charset"}, "Hello"),
        ({"Content_Type": "nonsense"}, "Hello"),
        ({"Content_Transfer_Encoding": "nonsense"}, "Hello"),
    ],
)
def test_a_message_that_is_not_as_it_should_be(headers: dict[str, str], text: str) -> None:
    document, _ = read_letter(letter("Hello\n", **headers))
    assert document.text == text


@pytest.mark.parametrize(
    ("charset", "codec", "text"),
    [
        ("cp-850", "cp850", "Größe"),
        ("x-cp1251", "cp1251", "Привет"),
        ("windows-874", "cp874", "สวัสดี"),
        ("iso-8859-8-i", "iso-8859-8", "שלום"),
        ("gb2312", "gb18030", "鎔基"),
        ("us-ascii", "cp1252", "“quoted” – so"),
        ("ISO-8859-1", "cp1252", "“quoted”"),
        ("unknown-8bit", "utf-8", "Größe"),
        ("x-unknown", "cp1252", "Größe"),
        ("utf-8", "cp1252", "Größe"),
        ("base64", "utf-8", "Größe"),
        ("'utf-8'", "utf-8", "Größe"),
        ("", "utf-8", "Größe"),
    ],
)
def test_odd_encodings(charset: str, codec: str, text: str) -> None:
    assert decoded(text.encode(codec), charset, Report()) == text
    word = f"=?{charset or 'utf-8'}?b?{base64.b64encode(text.encode(codec)).decode()}?="
    document, _ = read_letter(letter("Hello", Subject=word))
    assert document.title in (text, word)


def test_an_encoding_that_is_not_what_is_said_is_counted() -> None:
    report = Report()
    assert decoded(b"caf\xe9", "utf-8", report) == "café"
    assert decoded(b"plain", "no-such", report) == "plain"
    assert report.mended == {"parts in an encoding other than declared": 1}


@pytest.mark.parametrize(
    ("header", "title"),
    [
        ("=?utf-8?Q?Gr=C3=BC=C3=9Fe?= =?utf-8?q?_an?=\n =?utf-8*de?B?IGFsbGU=?=", "Grüße an alle"),
        ("Re: =?iso-8859-1?q?caf=E9?= and more", "Re: café and more"),
        ("=?utf-8?b?!!!?= odd", "odd"),
        ("Grüße", "Grüße"),
        ("", ""),
    ],
)
def test_encoded_words(header: str, title: str) -> None:
    document, _ = read_letter(letter("Hello", Subject=header))
    assert document.title == title


def test_flowed_text_is_paragraphs() -> None:
    text = "This is \none paragraph.\n\n From here \n> a \n> quote\n>> deeper\n-- \nAda"
    assert unwrapped(text, False) == (
        "This is one paragraph.\n\nFrom here \n> a quote\n>> deeper\n-- \nAda"
    )
    assert unwrapped("明 \n月", True) == "明月"
    kind = 'text/plain; charset=utf-8; format="flowed"; delsp=yes'
    document, _ = read_letter(letter("It is lo \nng.\n\n> quo \n> te", Content_Type=kind))
    assert document.text == "It is long."


@given(st.lists(st.text("ab >-", max_size=8), max_size=8))
def test_flowed_text_loses_no_letters(lines: list[str]) -> None:
    text = "\n".join(lines)
    letters = [c for c in text if c in "ab"]
    assert [c for c in unwrapped(text, False) if c in "ab"] == letters


REPLY = """\
Dear Tom,

On Tue, 16 May 2023 at 10:15, Tom Finn
<tom@example.org> wrote:
> Shall we go by train?
>
> Tom

Yes, by train. 3 things to bring:
a coat, a map, a book.

Am 15.05.2023 um 09:00 schrieb Tom Finn:

> And when?

At noon.

Ada
--{}
Ada Byrne, Ferry Road 1
""".format(" ")


def test_a_reply_is_what_its_author_wrote() -> None:
    report = Report()
    assert own_words(REPLY, report).rstrip() == (
        "Dear Tom,\n\nYes, by train. 3 things to bring:\na coat, a map, a book.\n\nAt noon.\n\nAda"
    )
    assert report.left_out == {"quoted lines": 7, "signatures": 1}


@pytest.mark.parametrize(
    "rest",
    [
        "-----Original Message-----\nFrom: Tom\nSent: today\n\nHello",
        "-----Ursprüngliche Nachricht-----\nVon: Tom\n\nHallo",
        "---------- Forwarded message ---------\nFrom: Tom\n\nHello",
        "________________________________\nFrom: Tom <tom@example.org>\nSent: today\n\nHello",
        "From: Tom\nSent: today\nTo: Ada\nSubject: Trains\n\nHello",
        "De: Tom\nEnvoyé : mardi\nÀ : Ada\nObjet : Trains\n\nBonjour",
        "Begin forwarded message:\n\nHello",
        "-- \nAda\nFerry Road",
        "Sent from my iPhone",
        "_______________________________________________\nferries mailing list\nhttps://example.org",
        "-------------- next part --------------\nAn attachment was scrubbed...\nName: a.asc",
        "-----BEGIN PGP SIGNATURE-----\n\nabc=\n-----END PGP SIGNATURE-----",
        "begin 644 a.txt\n#86)C\n`\nend",
    ],
)
def test_what_comes_behind_a_letter(rest: str) -> None:
    report = Report()
    assert own_words(f"Hello Tom,\n\nall is well.\n\n{rest}\n", report).rstrip() == (
        "Hello Tom,\n\nall is well."
    )
    assert sum(report.left_out.values()) > 0


@pytest.mark.parametrize(
    "text",
    [
        "From: where I stand\nit rains.",
        "-- a dash, and more --",
        "--\n" + "\n".join(f"line {n} of a poem" for n in range(12)),
        "to: do\nbuy bread",
        "a > b, she wrote:\nand then",
    ],
)
def test_what_stays_in_a_letter(text: str) -> None:
    report = Report()
    assert own_words(text, report) == text
    assert not report.left_out


def test_letters_that_are_left_out() -> None:
    data = in_mbox(
        letter("gone", X_Mozilla_Status="0009"),
        letter("read", X_Mozilla_Status="0001"),
        letter("> only a quote"),
    )
    documents, report = read_file(mail.KINDS, data)
    assert [d.text for d in documents] == ["read"]
    assert report.left_out == {
        "deleted messages": 1,
        "messages without text": 1,
        "quoted lines": 1,
    }
    with refused("not-text", why="no text"):
        read_letter(letter(" \n"))


def test_a_maildir() -> None:
    files = {
        "cur/1684324801.M1P2.host:2,S": letter("second", 2),
        "cur/1684324802.M1P2.host:2,ST": letter("trash"),
        "cur/1684324803.M1P2.host:2,DS": letter("draft"),
        ".Sent/new/1684324800.M1P2.host": letter("first", 1),
        "tmp/1684324809.M1P2.host": letter("half"),
        "dovecot-uidlist": b"3 V1",
    }
    documents, report = read_bundle(mail.KINDS, files, "Maildir")
    assert [d.text for d in documents] == ["first", "second"]
    assert report.left_out == {"deleted messages": 1, "drafts": 1, "other files": 2}


def test_folders_of_a_maildir_that_begin_with_a_dot_are_part_of_it(tmp_path: Path) -> None:
    files = {
        "Maildir/cur/1684324801.M1P2.host:2,S": letter("second", 2),
        "Maildir/.Sent.2023/new/1684324800.M1P2.host": letter("first", 1),
        "Maildir/.Trash/cur/1684324802.M1P2.host:2,S": letter("trash"),
        "Maildir/.Drafts/cur/1684324803.M1P2.host:2,S": letter("draft"),
        "Maildir/.Junk/cur/1684324804.M1P2.host:2,S": letter("spam"),
        "Maildir/.Sent.2023/maildirfolder": b"",
        "Maildir/.cache/cur/1684324809.M1P2.host": letter("no mail folder"),
    }
    for name, data in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if ".cache" not in name:
            for folder in ("cur", "new", "tmp"):
                (path.parent if "folder" in name else path.parent.parent).joinpath(folder).mkdir(
                    exist_ok=True
                )
    for source in ("Maildir", "."):
        text = read_text([str(tmp_path / source)])
        assert text.content == "first\nsecond"
        (note,) = [note for note in text.notes if note.startswith("left out")]
        assert all(what in note for what in ("1 deleted message", "1 draft", "1 message of spam"))


def test_parts_without_end_are_damaged_not_endless() -> None:
    deep = "".join(f'Content-Type: multipart/mixed; boundary="{n}"\n\n--{n}\n' for n in range(3000))
    data = in_mbox(letter("one"), b"From: a@example.org\n" + deep.encode())
    documents, report = read_file(mail.KINDS, data)
    assert [d.text for d in documents] == ["one"]
    assert report.left_out.total() == 1


def test_damaged_mail() -> None:
    data = in_mbox(
        bytes(parts()), letter(REPLY, 1), letter("x", Content_Type="text/plain; format=flowed")
    )
    survive(mail.KINDS, data)
    survive(mail.KINDS, bytes(parts()), "a.eml")
