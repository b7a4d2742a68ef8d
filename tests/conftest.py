from hypothesis import settings

# An example may be the first to need a kernel, and then waits for its compilation.
settings.register_profile("charloom", deadline=None)
settings.load_profile("charloom")


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="make all trials of tests/reliability")
