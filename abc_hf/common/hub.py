"""Sentences for errors of the Hub."""

from huggingface_hub import get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError


def check_token() -> None:
    """Raise ValueError if the usual places hold no token. Only the Hub knows whether it accepts a token."""
    if get_token() is None:
        raise ValueError("There is no token: run `hf auth login`, or set HF_TOKEN.")


def sentence(
    error: BaseException, repo: str, again: str = "run the same command again; it resumes where it stopped"
) -> str | None:
    """The sentence for the user, with advice if the connection broke. None for an error of the program itself."""
    if isinstance(error, RuntimeError) and error.__cause__ is not None:  # of one file's upload
        return sentence(error.__cause__, repo, again)
    lines = str(error).strip().split("\n")
    first = " ".join(" ".join(lines if isinstance(error, ValueError) else lines[:1]).split()).rstrip(".")
    status, said = None, ""
    if isinstance(error, HfHubHTTPError):
        status, said = error.response.status_code, error.server_message
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, and an upload needs the Hub."
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no such revision."
    if isinstance(error, RepositoryNotFoundError):
        return f"There is no {repo} on the Hub, or the token may not see it."
    if status == 401:
        return "The Hub does not accept the token; run `hf auth login`, or set HF_TOKEN."
    if status == 403:
        return f"The token may not write to {repo}; it must be one that may, of an account that may."
    if status == 412:
        return f"{repo} was changed by somebody else meanwhile; run the same command again."
    if status is not None and status < 500:
        return f"The Hub refused it ({said or first})."
    if status is not None or type(error).__module__.split(".")[0].startswith("httpx"):
        return f"The connection to the Hub broke ({first}); {again}."
    return f"{first}." if isinstance(error, ValueError | OSError | ImportError) else None
