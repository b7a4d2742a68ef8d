import pytest

from charloom.distributed import Place, place

TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "node7",
    "MASTER_PORT": "29500",
}


@pytest.fixture(autouse=True)
def started_by_torchrun(monkeypatch):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)


def test_torchrun_says_which_process_this_is():
    assert place() == Place(rank=1, ranks=4, local=1, host="node7", port=29500)


@pytest.mark.parametrize("name", TORCHRUN)
def test_without_any_of_its_variables_it_was_not_torchrun(monkeypatch, name):
    monkeypatch.delenv(name)
    assert place() is None


@pytest.mark.parametrize(("name", "value"), [("RANK", "4"), ("WORLD_SIZE", "many"), ("RANK", "")])
def test_what_makes_no_sense_was_not_torchrun(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert place() is None
