"""Files that are damaged, or made to do harm: a text or a line comes of each, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

for library in ("lxml", "pyarrow", "pypdfium2", "trafilatura", "zstandard"):
    pytest.importorskip(library)

SEED = 1
STOPPED = {  # at a limit, which is said
    "big.txt.gz", "big.txt.bz2", "big.txt.xz", "big.txt.zst", "big.gz.gz", "big.zip", "big.tgz",
    "deep.zip", "it.odt", "laughs.xml", "laughs.atom", "laughs.docx", "laughs.fodt", "local.xml",
    "local.atom", "deep.docx", "deep.odt", "deep.xml",
}  # fmt: skip


def told_by(program, *arguments):
    """The lines of JSON that a program in this folder prints."""
    command = [sys.executable, Path(__file__).with_name(program), *arguments]
    ended = subprocess.run(map(str, command), capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()[-2000:]
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.reliability(
    "D8", "damaged archives, books, documents, exports, tables: read or refused"
)
def test_a_damaged_file_is_read_or_refused(trials, tmp_path):
    number = trials.of(700, 10_000)
    [found] = told_by("damaged.py", tmp_path, SEED, number)
    assert not found["wrong"], "\n".join(map(str, found["wrong"][:20]))
    assert not found["events"], found["events"]
    read, refused = (found["counts"][name] for name in ("read", "refused"))
    assert found["counts"]["sound files read"] == found["kinds"]
    assert read + refused == number
    assert min(read, refused) > 0.2 * number
    trials.result(
        f"{read:,} read, {refused:,} refused in one line, of {found['kinds']} kinds; "
        f"0 opened outside; {found['slowest'][0]:.1f} s and {found['peak'] >> 10} MiB at most"
    )


@pytest.mark.slow
@pytest.mark.reliability("D9", "small files that would become huge, deep or slow, all harmless")
def test_a_bomb_is_stopped_at_a_limit_or_read_in_a_moment(trials, tmp_path):
    found = {told["name"]: told for told in told_by("bombs.py", tmp_path, *["all"] * trials.full)}
    trials.of(len(found), len(found))
    wrong = {name: told["wrong"] for name, told in found.items() if told["wrong"]}
    assert not wrong
    assert {name for name in STOPPED if found[name]["outcome"] != "refused"} == set()
    read = sum(told["outcome"] == "read" for told in found.values())
    most, slowest = (max(told[what] for told in found.values()) for what in ("kib", "seconds"))
    trials.result(
        f"{len(found) - read} stopped or refused, {read} read; {most >> 10} MiB and "
        f"{slowest:.1f} s of computing at most"
    )
