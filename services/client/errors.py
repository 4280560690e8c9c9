"""The one exception of the client."""

from services.errors import ServiceError


class BasinError(ServiceError):
    """What went wrong, in words for a person, and a code for a program.

    Attributes:
        code: `unauthorized`, `forbidden`, `not_found`, `invalid_request`, `invalid_query`, `invalid_sweep`, `conflict`,
            `too_large`, `too_many_requests`, `not_acceptable`, `unsupported_media_type`, `unavailable` or `internal`:
            the server's, and the same for a store.
        message: names the thing, what was expected and what to do.
        request_id: of the request, which the server's log has, too; None where there was no answer from a server.
    """

    def __init__(self, code: str, message: str, request_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request_id = request_id
