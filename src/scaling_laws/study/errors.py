"""The one exception that users meet."""


class InputError(ValueError):
    """Something a user gave is wrong.

    The message is one line: what is wrong, where, and what to do. The command line prints it after
    ``error:`` and exits with status 2; no traceback is shown.
    """


def require_positive(what: str = "", /, **values: float | None) -> None:
    """Refuse what is 0 or less; None is not given.

    Args:
        what: stands before the name.
    """
    for name, value in values.items():
        if value is not None and value <= 0:
            raise InputError(f"{what}{': ' * bool(what)}{name} is {value}; it must be positive")
