"""What the errors of obstore, deltalake and polars say, which carry it in their text alone."""

import re

_AWAY = re.compile(
    r"error sending request|error decoding response body|request or response body error|operation timed out"
    r"|status code\W*(5\d\d|429)"
)
_METADATA = "/latest/"  # of a machine of Amazon's, which is asked when no credentials are set


def is_away(error: BaseException) -> bool:
    """Whether an error of obstore, deltalake or polars says that a server did not answer, or was out of order."""
    text = _plain(error)
    return _AWAY.search(text) is not None and _METADATA not in text


def is_refused(error: BaseException) -> bool:
    """Whether a server said no for another reason than that an object is not there."""
    code = re.search(r"<Code>(.*?)</Code>", str(error))
    return code is not None and code[1] != "NoSuchKey"


def reason(error: BaseException) -> str:
    """The heart of an error of obstore or deltalake, in one line."""
    text = _plain(error)
    if _METADATA in text:
        return "no credentials are set"
    if "builder error" in text:
        return "an address that begins with http:// needs AWS_ALLOW_HTTP=true"
    if said := re.search(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", text, re.DOTALL):
        return f"{said[2]} ({said[1]})"
    if said := re.search(r"([^:]+) \(os error \d+\)", text) or re.search(r'message: "(.+?)"', text):
        return said[1].strip()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return text


def _plain(error: BaseException) -> str:
    """An error's message in one line, without colours, and without the source that obstore puts below it."""
    text = str(error).partition("\n\nDebug source")[0]
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[\d+m|↳", "", text)).strip()
