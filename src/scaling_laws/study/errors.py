"""The one exception that users meet."""


class InputError(ValueError):
    """Something a user gave is wrong.

    The message is one line: what is wrong, where, and what to do. The command line prints it after
    ``error:`` and exits with status 2; no traceback is shown.

    Examples:
        >>> import scaling_laws as sl
        >>> try:
        ...     sl.plan(compute="1e22 FLOPs")
        ... except sl.InputError as error:
        ...     print(error)
        give a law: an analysis, a fit or a laws.json; or published=, but not both
    """
