"""The error of a run that cannot be made, continued or read."""


class RunError(ValueError):
    """A run folder that cannot be used, in one line."""
