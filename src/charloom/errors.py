"""The one exception for what a user can mend."""


class CharloomError(ValueError):
    """What went wrong with what the user gave, and what to do next.

    The message is one line that names the file, option or character at fault; the
    command line prints it alone and exits with status 2.
    """
