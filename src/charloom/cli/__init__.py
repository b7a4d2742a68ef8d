"""The command line."""


def main() -> None:
    """Run the `charloom` command."""
