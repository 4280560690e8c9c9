"""Faults that a person can mend: the message names the thing, what was expected and what to do."""


class ServiceError(Exception):
    """A fault to be shown as a message, without a stack trace."""


class StoreError(ServiceError):
    """A store that cannot be opened, read or written."""


class QueryError(ServiceError):
    """A question to the tables that they cannot answer as put."""


class ScheduleError(ServiceError):
    """A schedule that means nothing, or that there is none of."""


class LedgerError(ServiceError):
    """A ledger that cannot be opened, read or written."""


class ConflictError(ServiceError):
    """What is asked for contradicts what is there."""
