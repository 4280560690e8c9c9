"""The one exception of this package."""


class ClusterError(RuntimeError):
    """Runs cannot be executed here as asked: the message says what was expected and what to do."""
