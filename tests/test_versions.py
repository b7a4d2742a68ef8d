import msgspec
import pytest

from charloom.models.versions import processor, versions
from charloom.runs.meta import Word

INTEL = """processor : 0
model name\t: An Old\x1b[31m Processor with a name that is longer than anybody would want to read it
flags\t\t: fpu sse2 avx avx2 fma avx512f avx512_bf16 avx512_vnni amx_bf16
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd crc32 sve\nCPU part\t: 0xd40\n"


def is_word(text: str) -> bool:
    return msgspec.convert(text, Word) == text


@pytest.mark.parametrize(
    ("content", "vectors"),
    [
        (INTEL, "avx avx2 fma avx512f avx512_bf16 amx_bf16"),
        (ARM, "asimd sve"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_processor_is_its_name_and_its_vector_instructions(tmp_path, content, vectors):
    path = tmp_path / "cpuinfo"
    if content is not None:
        path.write_text(content)
    found = processor(path)
    assert found.endswith(vectors)
    assert found.startswith("An Old") == (content == INTEL)
    assert found
    assert is_word(found)


@pytest.mark.parametrize("asked", ["3", "", "0", "2,1", "9" * 200, "\u00b2"])
def test_what_an_engine_computes_with_can_be_saved(monkeypatch, asked):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    for engine in ("reference", "compiled"):
        found = versions(engine)
        assert {"charloom", "python", "numpy", "numba", "processor"} < found.keys()
        assert found["engine"] == engine
        assert ("threads" in found) == (engine == "reference")
        assert all(map(is_word, found.values()))
    assert versions("reference")["threads"] == asked or asked != "3"
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    assert versions("reference")["threads"] == "7"


@pytest.mark.torch
def test_of_pytorch_its_version_and_device_are_told_too():
    torch = pytest.importorskip("torch")
    found = versions("torch")
    assert found["torch"] == torch.__version__
    assert found["processes"] == "1"
    assert {"device"} < found.keys()
    assert all(type(word) is str and is_word(word) for word in found.values())
