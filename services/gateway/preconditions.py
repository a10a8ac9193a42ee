"""Entity tags and `If-Match`: who changes what somebody else has changed meanwhile gets 412."""

from libs.common.errors import StaleVersion


def etag(version: int) -> str:
    """The entity tag of a version."""
    return f'"{version}"'


def check_if_match(if_match: str | None, version: int, what: str) -> None:
    """Raises `StaleVersion` when the header names other versions only; `what`: "workflow", for its sentence."""
    accepted = {tag.strip() for tag in (if_match or "*").split(",")}
    if not accepted & {"*", etag(version)}:
        raise StaleVersion(f"The {what} is at version {version} now.")
