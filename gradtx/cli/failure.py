"""What the person at the keyboard can put right."""


class CommandError(Exception):
    """Bad input to the command: shown as one line on standard error, with exit code 2 and no traceback."""
