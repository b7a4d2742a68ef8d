import json
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.readers import Head
from charloom.data.readers.chats import discord, slack, telegram, whatsapp
from charloom.data.readers.chats.lines import Message, conversation
from charloom.errors import CharloomError
from expect import refused
from readers import damaged, read_bundle, read_file, recognised, survive

NOON = datetime(2023, 5, 17, 12)
CHATS = (*telegram.KINDS, *discord.KINDS, *whatsapp.KINDS)

IOS = """\
[31/12/2023, 22:15:01] Book club: \u200eMessages and calls are end-to-end encrypted.
[31/12/2023, 22:15:01] Ada Byrne: Happy new year!
And many more,
with cake
\u200e[31/12/2023, 22:16:40] Ada Byrne: \u200eimage omitted
[01/01/2024, 00:03:00] ~\u202fTom Finn: Same to you \u200e<This message was edited>
[01/01/2024, 12:30:00] Ada Byrne: @\u2068Tom Finn\u2069 are you up?
[01/01/2024, 12:31:00] Tom Finn: \u200eThis message was deleted.
"""

ANDROID = """\
12/31/23, 10:15\u202fPM - Messages and calls are end-to-end encrypted. Tap to learn more.
12/31/23, 10:15\u202fPM - Ada Byrne created group "Trip: Rome"
12/31/23, 10:16\u202fPM - Ada Byrne changed the subject from "Trip" to "Trip: Rome"
12/31/23, 10:16\u202fPM - Ada Byrne: <Media omitted>
12/31/23, 10:17\u202fPM - Tom Finn: Who has the tickets: you?
1/1/24, 12:05\u202fAM - Ada Byrne: \u200eIMG-20240101-WA0001.jpg (file attached)
Look at this
1/1/24, 12:06\u202fAM - Tom Finn: This message was deleted
"""


def test_a_pause_is_a_blank_line() -> None:
    messages = [
        Message("Ada", "one", NOON),
        Message("Tom", "two\nlines", NOON + timedelta(hours=5)),
        Message("Ada", "three"),
        Message("Ada", "four", NOON + timedelta(hours=11)),
    ]
    assert conversation(messages) == "Ada: one\nTom: two\nlines\nAda: three\n\nAda: four"


def test_a_chat_of_ios() -> None:
    [chat], report = read_file(whatsapp.KINDS, IOS.encode(), "_chat.txt")
    assert chat.text == (
        "Ada Byrne: Happy new year!\nAnd many more,\nwith cake\nTom Finn: Same to you\n\n"
        "Ada Byrne: @Tom Finn are you up?"
    )
    assert chat.date == "2023-12-31T22:15:00"
    assert report.left_out == {"notices": 1, "messages without text": 2}


def test_a_chat_of_android() -> None:
    [chat], report = read_file(whatsapp.KINDS, ANDROID.encode(), "WhatsApp Chat with Trip.txt")
    assert chat.text == "Tom Finn: Who has the tickets: you?\nAda Byrne: Look at this"
    assert (chat.title, chat.date) == ("Trip", "2023-12-31T22:17:00")
    assert report.left_out == {"notices": 3, "messages without text": 2}


@pytest.mark.parametrize(
    ("stamp", "date"),
    [
        ("3/6/18, 1:55 p.m. - ", "2018-06-03T13:55:00"),
        ("03-06-2018, 01.55 PM - ", "2018-06-03T13:55:00"),
        ("13.06.18 21.25.15: ", "2018-06-13T21:25:00"),
        ("[06.13.18 21:25:15] ", "2018-06-13T21:25:00"),
        ("13.6.2018 klo 21.25.15 - ", "2018-06-13T21:25:00"),
        ("[3/6/18 1:55:00 p. m.] ", "2018-06-03T13:55:00"),
        ("\u200e[3/6/18 1:55:00 p.\xa0m.] ", "2018-06-03T13:55:00"),
        ("[2018/06/13, 21:25:15] ", "2018-06-13T21:25:00"),
        ("2018/6/13 下午9:25 - ", "2018-06-13T21:25:00"),
        ("2018. 6. 13. 오전 12:25 - ", "2018-06-13T00:25:00"),
        ("31. 12. 23, 9:05 - ", "2023-12-31T09:05:00"),
        ("13/6/2018 à 21:25 - ", "2018-06-13T21:25:00"),
        ("[١٣/٦/٢٠١٨، ٩:٢٥:١٥ م] ", "2018-06-13T21:25:00"),
    ],
)
def test_dates_of_all_countries(stamp: str, date: str) -> None:
    [chat], _ = read_file(whatsapp.KINDS, f"{stamp}Ada Byrne: hello\n".encode())
    assert (chat.text, chat.date) == ("Ada Byrne: hello", date)


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%y", "%m/%d/%y", "%Y-%m-%d"])
@given(
    start=st.datetimes(datetime(2009, 3, 1), datetime(2038, 1, 1)),
    hours=st.lists(st.integers(1, 500), min_size=60, max_size=60),
)
def test_the_order_of_day_and_month_is_that_in_which_time_goes_on(
    form: str, start: datetime, hours: list[int]
) -> None:
    times = [start + timedelta(hours=sum(hours[:n])) for n in range(len(hours))]
    if not any(time.day > 12 for time in times):
        return
    text = "".join(time.strftime(f"[{form}, %H:%M:%S] Ada: it is {time:%j}\n") for time in times)
    [chat], report = read_file(whatsapp.KINDS, text.encode())
    assert chat.date == times[0].replace(second=0, microsecond=0).isoformat()
    assert not report.notes


def test_dates_that_may_be_either_are_said() -> None:
    _, report = read_file(whatsapp.KINDS, b"[03/04/2023, 10:00:00] Ada: hello\n")
    assert len(report.notes) == 1


@pytest.mark.parametrize(
    "text",
    [
        "2023-12-31 23:59:59,123 - root - INFO - started\n" * 20,
        "[2023-12-31 23:59:59] production.ERROR: no such table\n" * 20,
        "2023-12-31 23:59:59: WARNING: slow\n" * 20,
        "[23:59:59] <ada> hello\n" * 20,
        "2023-12-31 23:59:59 <ada> hello: you\n" * 20,
        "Dear diary,\n\n12/31/23, 10:15 - Tom: hi\n\nthat is all he said.\n",
        "12/31/23, 10:15 - Tom: hi\n" + "And then he went on and on.\n" * 20,
        "31/12/2023, 10:15 was when it began: with a bang.\n",
        "",
        "\n\n",
    ],
)
def test_what_is_no_chat(text: str) -> None:
    assert recognised(CHATS, text.encode(), "notes.txt") is None


def test_media_in_other_languages() -> None:
    lines = ["<Medien ausgeschlossen>", "Bild weggelassen", "imagen omitida", "image absente"]
    lines += ["Diese Nachricht wurde gelöscht.", "IMG-1.jpg (Datei angehängt)", "elle est absente"]
    text = "".join(f"31.12.23, 10:15 - Ada: {line}\n" for line in lines)
    [chat], report = read_file(whatsapp.KINDS, text.encode())
    assert chat.text == "Ada: elle est absente"
    assert report.left_out["messages without text"] == 6


def test_a_zip_with_a_chat_and_its_media() -> None:
    files = {"00000003-PHOTO.jpg": b"\xff\xd8", "_chat.txt": IOS.encode(), "card.vcf": b"BEGIN"}
    [chat], report = read_bundle(whatsapp.KINDS, files, "WhatsApp Chat - Book club.zip")
    assert (chat.name, chat.title) == ("_chat.txt", "Book club")
    assert report.left_out["media files"] == 2
    others = Head("notes", members=("_chat.txt", "chapter.txt"))
    assert not any(kind.matches(others) for kind in whatsapp.KINDS)


def test_a_chat_without_messages_is_refused() -> None:
    text = "31.12.23, 10:15 - Ada: <Media omitted>\n"
    with refused("not-text", why="no messages"):
        read_file(whatsapp.KINDS, text.encode())


def telegram_chat(kind: str = "personal_chat", **more: object) -> dict[str, object]:
    messages: list[dict[str, object]] = [
        {"id": 1, "type": "service", "date": "2023-05-17T11:00:00", "text": ""},
        {"id": 2, "type": "message", "date": "2023-05-17T12:00:00", "from": "Ada", "text": "Hello"},
        {
            "id": 3,
            "type": "message",
            "date": "2023-05-17T12:01:00",
            "edited": "2023-05-17T12:05:00",
            "from": "Tom",
            "reply_to_message_id": 2,
            "text": ["Look: ", {"type": "link", "text": "https://example.com"}, " and\nsmile"],
        },
        {"id": 4, "type": "message", "from": "Tom", "media_type": "sticker", "text": ""},
        {"id": 5, "type": "message", "from": "Tom", "photo": "p.jpg", "text": "A caption"},
        {"id": 6, "type": "message", "from": "Tom", "forwarded_from": "News", "text": "Buy!"},
        {"id": 7, "type": "message", "from": None, "from_id": "user7", "text": "half \ud83d"},
    ]
    return {"name": "Ada", "type": kind, "id": 99, "messages": messages, **more}


TELEGRAM = (
    "Ada: Hello\nTom: Look: https://example.com and\nsmile\nTom: A caption\nuser7: half \ufffd"
)


def test_a_chat_of_telegram() -> None:
    [chat], report = read_file(CHATS, json.dumps(telegram_chat()).encode(), "result.json")
    assert chat.text == TELEGRAM
    assert (chat.title, chat.date) == ("Ada", "2023-05-17T12:00:00")
    assert report.left_out == {
        "notices": 1,
        "messages without text": 1,
        "forwarded messages": 1,
    }


def test_an_account_of_telegram() -> None:
    export = {
        "about": "Here is the data you requested.",
        "personal_information": {"first_name": "Tom"},
        "chats": {"about": "", "list": [telegram_chat(), telegram_chat("public_channel")]},
        "left_chats": {"about": "", "list": [telegram_chat("private_group", name="")]},
    }
    documents, _ = read_file(CHATS, json.dumps(export, indent=1).encode(), "result.json")
    assert [document.name for document in documents] == [
        "Ada",
        *("Ada 1", "Ada 2", "Ada 3", "Ada 4"),
        "chat 3",
    ]
    assert documents[1].text == "Hello"
    assert documents[0].text == documents[-1].text == TELEGRAM


def discord_channel() -> dict[str, object]:
    def message(kind: str, content: str, **author: object) -> dict[str, object]:
        time = "2023-05-17T12:00:00.5+02:00"
        return {"id": "1", "type": kind, "timestamp": time, "content": content, "author": author}

    return {
        "guild": {"id": "1", "name": "Book club"},
        "channel": {"id": "2", "type": "GuildTextChat", "name": "general", "topic": None},
        "dateRange": {"after": None, "before": None},
        "messages": [
            message("GuildMemberJoin", "Joined the server.", name="ada"),
            message("Default", "Hello :smile:", name="ada", nickname="Ada", isBot=False),
            message("Reply", "Hi\nthere", name="tom", nickname=None),
            message("Default", "", name="tom"),
            message("Default", "beep", name="robot", isBot=True),
        ],
        "messageCount": 5,
    }


def test_a_channel_of_discord() -> None:
    [chat], report = read_file(CHATS, json.dumps(discord_channel()).encode(), "general.json")
    assert chat.text == "Ada: Hello :smile:\ntom: Hi\nthere"
    assert (chat.title, chat.date) == ("general", "2023-05-17T10:00:00.500000")
    assert report.left_out == {
        "notices": 1,
        "messages without text": 1,
        "messages from bots": 1,
    }


def test_a_package_of_discord_has_what_one_wrote() -> None:
    rows = [
        {"ID": 3, "Timestamp": "2023-05-17 12:02:00", "Contents": "later <@12> <:wave:34>"},
        {"ID": 2, "Timestamp": "2023-05-17 12:01:00", "Contents": "", "Attachments": "a.png"},
        {"ID": 1, "Timestamp": "2023-05-17 12:00:00", "Contents": "first", "Attachments": ""},
    ]
    table = 'ID,Timestamp,Contents,Attachments\n7,2020-01-01 10:00:00+00:00,"one,\ntwo",\n'
    files = {
        "messages/index.json": b'{"100": "Direct Message with Ada", "200": null}',
        "messages/c100/messages.json": json.dumps(rows).encode(),
        "messages/c100/channel.json": b"{}",
        "messages/c200/messages.csv": table.encode(),
        "account/user.json": b"{}",
    }
    [first, second], report = read_bundle(CHATS, files)
    assert (first.text, first.title, first.name) == (
        "first\nlater  :wave:",
        "Direct Message with Ada",
        "100",
    )
    assert (second.text, second.date) == ("one,\ntwo", "2020-01-01T10:00:00")
    assert report.left_out == {"messages without text": 1, "mentions by number": 1}


@pytest.mark.parametrize(
    "value",
    [
        {"name": "charloom", "type": "module", "messages": {"hello": "Hello"}},
        {"type": "personal_chat"},
        {"guild": {}, "channel": "general"},
        [1, 2],
    ],
)
def test_json_that_is_no_chat(value: object) -> None:
    assert recognised(CHATS, json.dumps(value).encode(), "package.json") is None


@given(texts=st.lists(st.text(st.characters(codec="utf-8")), max_size=5))
def test_every_message_of_telegram_is_kept_or_counted(texts: list[str]) -> None:
    messages = [{"type": "message", "from": "Ada", "text": text} for text in texts]
    export = {"name": "A", "type": "personal_chat", "id": 1, "messages": messages}
    documents, report = read_file(CHATS, json.dumps(export).encode())
    kept = sum(document.text.count("Ada: ") for document in documents)
    assert kept >= len(texts) - report.left_out["messages without text"]


def test_a_cut_export_is_damaged() -> None:
    data = json.dumps(telegram_chat()).encode()[:-20]
    with refused("damaged", why="damaged"):
        read_file(CHATS, data)


@pytest.mark.parametrize(
    "data",
    [
        IOS.encode(),
        ANDROID.encode(),
        json.dumps(telegram_chat()).encode(),
        json.dumps(discord_channel()).encode(),
    ],
    ids=["ios", "android", "telegram", "discord"],
)
def test_damaged_chats(data: bytes) -> None:
    survive(CHATS, data)


def slack_export() -> dict[str, bytes]:
    def message(ts: int, text: str, **more: object) -> dict[str, object]:
        return {
            "type": "message",
            "user": "U1",
            "ts": f"16843248{ts:02}.000100",
            "text": text,
        } | more

    thread = "1684324800.000100"
    users = [
        {"id": "U1", "name": "ada", "profile": {"display_name": "", "real_name": "Ada Byrne"}},
        {"id": "U2", "name": "tom", "profile": None},
    ]
    first = [
        message(0, "Who &amp; when? <!here> <@U2>", thread_ts=thread),
        message(1, "Look: <https://example.com/a|this page> in <#C1|general>"),
        message(2, "<@U1> has joined", subtype="channel_join"),
        message(3, "beep", bot_id="B1"),
        message(4, ""),
    ]
    second = [message(9, "At noon, <@U9>", user="U2", thread_ts=thread)]
    return {
        "users.json": json.dumps(users).encode(),
        "channels.json": b"[]",
        "general/2023-05-18.json": json.dumps(second).encode(),
        "general/2023-05-17.json": json.dumps(first).encode(),
        "quiet/2023-05-17.json": b"[]",
    }


def test_an_export_of_slack() -> None:
    [chat], report = read_bundle(slack.KINDS, slack_export())
    assert chat.text == (
        "Ada Byrne: Who & when? @here @tom\ntom: At noon, @U9\n"
        "Ada Byrne: Look: this page in #general"
    )
    assert (chat.title, chat.date) == ("general", "2023-05-17T12:00:00.000100")
    assert report.left_out == {
        "notices": 1,
        "messages from bots": 1,
        "messages without text": 1,
    }


def test_a_damaged_export_of_slack() -> None:
    name = "general/2023-05-17.json"
    for seed in range(40):
        files = slack_export()
        with suppress(CharloomError):
            read_bundle(slack.KINDS, files | {name: damaged(files[name], seed)})


def test_older_exports_of_telegram_have_the_text_in_pieces_only() -> None:
    message = {
        "type": "message",
        "from": "Ada",
        "text_entities": [{"type": "plain", "text": "Hello "}, {"type": "bold", "text": "Tom"}],
    }
    chat = {"type": "personal_chat", "name": "Tom", "messages": [message]}
    export = {"personal_information": {"user_id": 1}, "chats": {"list": [chat]}}
    [document], _ = read_file(CHATS, json.dumps(export).encode())
    assert document.text == "Ada: Hello Tom"
