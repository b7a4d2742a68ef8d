#!/usr/bin/env bash
# arpa 0.1.0b4, the reader and writer of ARPA models: of a back-off weight with an exponent it reads what stands before the exponent, without a
# word, so -4.3e-05 is -4.3 and all that backs off from there is some 20,000 times too unlikely. It writes such weights itself and reads
# its own file wrongly. KenLM (which is compiled here) reads the same file as meant, and so does arpa a probability. Its issue 5, of 2019.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check arpa==0.1.0b4 kenlm==0.3.0
cd "$folder"
"$folder/venv/bin/python" - <<'P'
import arpa
import kenlm

MODEL = r"""\data\
ngram 1=4
ngram 2=1

\1-grams:
-0.6	<unk>
-99	<s>	0
-0.3	</s>
-0.6	a	{weight}

\2-grams:
-4.3e-05	a a

\end\
"""

for weight in ("-0.000043", "-4.3e-05"):
    with open("one.arpa", "w") as file:
        file.write(MODEL.format(weight=weight))
    (model,) = arpa.loadf("one.arpa")
    arpa.dumpf(model, "two.arpa")
    (again,) = arpa.loadf("two.arpa")
    right = kenlm.Model("one.arpa").score("a", bos=False, eos=True)
    for one, where in ((model, "as given"), (again, "as arpa writes it")):
        found = one.log_p("a") + one.log_p("a </s>")
        print(f"weight {weight}, {where}: log10 of p(a </s>) is {found:.4f} by arpa, {right:.4f} by KenLM")
        exact = one is model and weight == "-0.000043"
        assert abs(right + 0.900043) < 1e-5, "KenLM has changed"
        assert abs(found - (right if exact else right - 4.3)) < 1e-3, "arpa has changed"
        assert one.log_p("a a") == -4.3e-05, "arpa has changed"
P
