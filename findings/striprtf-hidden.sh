#!/usr/bin/env bash
# striprtf 0.0.35: text that RTF marks as hidden (\v) or as deleted under revision (\deleted), which no reader of the
# document sees, is in its output as any other text.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check striprtf==0.0.35
"$folder/venv/bin/python" - <<'P'
from striprtf.striprtf import rtf_to_text

DOCUMENT = r"{\rtf1\ansi\deff0 {\fonttbl{\f0 Times;}} Seen{\v  hidden}{\deleted  deleted}{\revised  added} all.\par}"
found = rtf_to_text(DOCUMENT)
print("text:", repr(found))
assert "hidden" in found and "deleted" in found and "added" in found, "this has changed"
P
