"""The one exception that a user's mistake raises."""


class UserError(ValueError):
    """A mistake in a command, configuration or file: one line that says what is wrong and how to fix it.

    The command line prints the message without a traceback and exits with code 2; from Python it is an ordinary
    `ValueError`.
    """
