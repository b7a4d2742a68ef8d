"""Models that PyTorch saved, by PyTorch itself: read without it, and never executed."""

import pickle
import string
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET

from charloom.evaluation import evaluate
from charloom.formats.old.importing import import_run
from charloom.formats.old.recognition import recognise
from charloom.runs.open import open_model
from charloom.runs.run import Run
from expect import refused
from old_files import TEXT, TOKENS

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

V = len(TOKENS)
LAYOUTS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "earlier layout"])


def save(path: Path, what: Any, zipped: bool = True) -> Path:
    torch.save(what, path, _use_new_zipfile_serialization=zipped)
    return path


def ours(run: Run) -> float:
    model = open_model(run)
    return evaluate(model, model.vocabulary.whole(TEXT), lanes=1).nats


def theirs(logits: Any, tokens: Any = TOKENS) -> float:
    ids = torch.tensor([tokens.index(character) for character in TEXT])
    with torch.no_grad():
        return float(F.cross_entropy(logits(ids[:-1]), ids[1:]))


class Net(nn.Module):
    """Udacity's: one-hot inputs, an LSTM and a head called fc."""

    def __init__(self, cell: Any = nn.LSTM, layers: int = 2, size: int = V) -> None:
        super().__init__()
        self.lstm = cell(size, 7, layers, batch_first=True)
        self.fc = nn.Linear(7, size)
        self.size = size

    def forward(self, ids: Any) -> Any:
        return self.fc(self.lstm(F.one_hot(ids, self.size).float()[None])[0])[0]


class CharRNN(nn.Module):
    """char-rnn.pytorch's: an embedding called encoder, and a head called decoder."""

    def __init__(self, size: int = 100, model: str = "lstm") -> None:
        super().__init__()
        self.model = model
        self.encoder = nn.Embedding(size, 6)
        self.rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[model](6, 6, 2)
        self.decoder = nn.Linear(6, size)

    def forward(self, ids: Any) -> Any:
        return self.decoder(self.rnn(self.encoder(ids)[:, None])[0])[:, 0]


CharRNN.__module__ = "model"  # as it is saved there
CharRNN.__qualname__ = "CharRNN"


@pytest.fixture
def model_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("model")
    module.CharRNN = CharRNN  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "model", module)


@LAYOUTS
@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_state_dict_with_its_tokens(tmp_path: Path, cell: Any, zipped: bool) -> None:
    torch.manual_seed(0)
    net = Net(cell)
    what = {"n_hidden": 7, "n_layers": 2, "state_dict": net.state_dict(), "tokens": tuple(TOKENS)}
    run, _ = import_run(save(tmp_path / "x.net", what, zipped), tmp_path / "run")
    assert ours(run) == pytest.approx(theirs(net), abs=1e-5)


@LAYOUTS
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source")
@pytest.mark.filterwarnings("ignore:.*get.*source.*")
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_whole_module_of_char_rnn_pytorch(
    tmp_path: Path, zipped: bool, cell: str, model_module: None
) -> None:
    torch.manual_seed(1)
    net = CharRNN(model=cell)
    run, found = import_run(save(tmp_path / "x.pt", net, zipped), tmp_path / "run")
    assert ours(run) == pytest.approx(theirs(net, string.printable), abs=1e-5)
    assert found.program == "char-rnn.pytorch"


def test_a_gru_whose_second_bias_is_0_is_a_plain_one(tmp_path: Path) -> None:
    torch.manual_seed(4)
    net = Net(nn.GRU)
    for layer in range(2):
        getattr(net.lstm, f"bias_hh_l{layer}").data[14:] = 0
    what = {"state_dict": net.state_dict(), "tokens": TOKENS}
    run, found = import_run(save(tmp_path / "x.net", what), tmp_path / "run")
    assert found.model.reset is UNSET
    assert ours(run) == pytest.approx(theirs(net), abs=1e-5)


def test_doubles_halves_and_bfloat16(tmp_path: Path) -> None:
    torch.manual_seed(2)
    for number, dtype in enumerate((torch.float64, torch.float16, torch.bfloat16)):
        net = Net().to(dtype)
        what = {"state_dict": net.state_dict(), "tokens": TOKENS}
        run, _ = import_run(save(tmp_path / str(number), what), tmp_path / f"run{number}")
        assert ours(run) == pytest.approx(theirs(net.float()), abs=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.ModuleDict({"r": nn.LSTM(V, 5, bidirectional=True), "fc": nn.Linear(10, V)}),
        lambda: nn.ModuleDict({"r": nn.LSTM(V, 5, proj_size=3), "fc": nn.Linear(3, V)}),
        lambda: nn.ModuleDict({"r": nn.LSTM(V, 5), "a": nn.Linear(5, 5), "fc": nn.Linear(5, V)}),
        lambda: nn.Linear(3, 4),
    ],
    ids=["both directions", "projected", "two heads", "no network"],
)
def test_what_cannot_be_converted_exactly_is_refused(tmp_path: Path, make: Any) -> None:
    with refused("unsupported"):
        recognise(save(tmp_path / "x.pt", make().state_dict()))


class Block(nn.Module):
    def __init__(self, D: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = (nn.LayerNorm(D, bias=False) for _ in range(2))
        self.attn = nn.ModuleDict(
            {"c_attn": nn.Linear(D, 3 * D, bias=False), "c_proj": nn.Linear(D, D, bias=False)}
        )
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(D, 4 * D, bias=False), "c_proj": nn.Linear(4 * D, D, bias=False)}
        )

    def forward(self, x: Any, heads: int) -> Any:
        T, D = x.shape
        q, k, v = (
            part.view(T, heads, D // heads).transpose(0, 1)
            for part in self.attn["c_attn"](self.ln_1(x)).split(D, dim=1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 1).reshape(T, D)
        x = x + self.attn["c_proj"](y)
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class NanoGPT(nn.Module):
    def __init__(self, C: int, D: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(V, D),
                "wpe": nn.Embedding(C, D),
                "h": nn.ModuleList([Block(D), Block(D)]),
                "ln_f": nn.LayerNorm(D, bias=False),
            }
        )
        self.lm_head = nn.Linear(D, V, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight

    def forward(self, ids: Any) -> Any:
        x = self.transformer["wte"](ids) + self.transformer["wpe"].weight[: len(ids)]
        for block in self.transformer["h"]:
            x = block(x, self.heads)
        return self.lm_head(self.transformer["ln_f"](x))


@pytest.mark.parametrize("best", [np.float64(2.5), torch.tensor(2.5), 2.5], ids=repr)
def test_nanogpt(tmp_path: Path, best: Any) -> None:
    torch.manual_seed(3)
    net = NanoGPT(len(TEXT), 8, 2)
    for weight in net.parameters():
        weight.data.normal_(0, 0.5)
    what = {
        "model": {f"_orig_mod.{name}": a for name, a in net.state_dict().items()},
        "model_args": {"n_layer": 2, "n_head": 2, "n_embd": 8, "block_size": len(TEXT)}
        | {"bias": False, "vocab_size": V, "dropout": 0.0},
        "iter_num": 250,
        "best_val_loss": best,
        "config": {"out_dir": "/home/carol"},
    }
    path = save(tmp_path / "ckpt.pt", what)
    meta = {"vocab_size": V, "itos": dict(enumerate(TOKENS)), "stoi": {}}
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps(meta))
    run, found = import_run(path, tmp_path / "run")
    assert ours(run) == pytest.approx(theirs(net), abs=1e-5)
    assert found.step == 250
    assert found.validation in ({250: 2.5}, {})


class Executed:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


@LAYOUTS
def test_nothing_is_executed(tmp_path: Path, zipped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with refused("unsupported"):
        recognise(save(tmp_path / "x.pt", {"state_dict": Executed(), "tokens": TOKENS}, zipped))
    assert not Path("executed").exists()
