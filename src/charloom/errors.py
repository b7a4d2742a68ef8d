"""The one exception for what a user can mend, and its exit statuses."""


class CharloomError(ValueError):
    """What went wrong with what the user gave, and what to do next.

    The message is one line that names the file, option or character at fault; the
    command line prints it alone and exits with `status`.
    """

    status = 2


class DivergedError(CharloomError):
    """A network broke again and again: with these settings it does not learn."""

    status = 3
