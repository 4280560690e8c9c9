"""Faults that a person can mend: the message names the thing, what was expected and what to do."""


class ServiceError(Exception):
    """A fault to be shown as a message, without a stack trace."""


class StoreError(ServiceError):
    """A store that cannot be opened, read or written."""


class NotStoredError(StoreError):
    """Something that the store does not have.

    Attributes:
        what: is not there, in words that do not tell where the store is.
        remedy: what to do about it, likewise.
    """

    def __init__(self, what: str, location: str, remedy: str) -> None:
        super().__init__(f"{what} in {location}: {remedy}")
        self.what, self.remedy = what, remedy


class QueryError(ServiceError):
    """A question to the tables that they cannot answer as put."""


class ScheduleError(ServiceError):
    """A schedule that means nothing, or that there is none of."""


class LedgerError(ServiceError):
    """A ledger that cannot be opened, read or written."""


class ConflictError(ServiceError):
    """What is asked for contradicts what is there."""
