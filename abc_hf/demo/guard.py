"""Who may send requests to the demo's server, and errors as sentences.

A page of another site can send requests to a server on the visitor's own machine. If that page's name is made to lead
to this machine (DNS rebinding), the browser takes the server for a part of that site.
"""

import ipaddress
import logging
import math
import os
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import gradio as gr
from gradio.utils import get_space
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from .uploads import MAX_BODY, toast

logger = logging.getLogger(__name__)

EVERYWHERE = ("0.0.0.0", "::")
"""Addresses a server listens on to be reached under all addresses of its machine."""


class Guard:
    """Refuses requests under names that the server was not told, and requests of other sites' pages. As a Space, whose
    name and pages are known to its proxy alone, it refuses none.

    Args:
        app: the ASGI application behind it.
        demo: the page, which is told its public address once it has one.
        server_name: the address that the server listens on.
        root_path: the public address behind a proxy, if it is a whole one.
    """

    def __init__(self, app: Callable[..., Awaitable], demo: gr.Blocks, server_name: str, root_path: str | None):
        self.app, self.demo, self.server_name, self.root_path = app, demo, server_name, root_path

    async def __call__(self, scope, receive, send) -> None:
        refusal = (
            None if get_space() or scope["type"] not in ("http", "websocket") else self.refusal(Headers(scope=scope))
        )
        if refusal is None and scope["type"] == "http":
            await self.within_size(scope, receive, send)
        elif refusal is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await PlainTextResponse(refusal, 403)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": refusal})

    async def within_size(self, scope, receive, send) -> None:
        """Let the page answer a request, unless its body is larger than `MAX_BODY`; Gradio limits uploads itself. If
        the page fails, the answer is a sentence."""
        limit = math.inf if scope["path"].endswith("/gradio_api/upload") else MAX_BODY
        length = Headers(scope=scope).get("content-length", "")
        size, answered = int(length) if length.isdecimal() and int(length) > limit else 0, False

        async def count() -> dict:
            nonlocal size
            message = await receive() if size <= limit else {}
            size += len(message.get("body", b""))
            return message if size <= limit else {"type": "http.disconnect"}

        async def answer(message: dict) -> None:
            nonlocal answered
            if size <= limit or answered:
                answered = True
                await send(message)

        failed = False
        try:
            if size <= limit:
                await self.app(scope, count, answer)
        except Exception:
            if failed := size <= limit:
                logger.exception("A request failed.")
            if answered:
                raise
        if size > limit and not answered:
            sentence = f"A request takes at most {MAX_BODY >> 20} MB; upload large files first."
            await PlainTextResponse(sentence, 413)(scope, receive, send)
        elif failed:
            sentence = "This request cannot be answered. “Use via API” on the page lists those that the server takes."
            await PlainTextResponse(sentence, 500)(scope, receive, send)

    def refusal(self, headers: Headers) -> str | None:
        """Why a request is refused, a sentence; None if it is not."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.knows(host := hosts[0]):
            return (
                "This server was not told that it has this name. Ask for it as localhost, or set GRADIO_ROOT_PATH to "
                "its address."
            )
        known = {host.lower(), *(place_of(address) for address in self.addresses())}
        if any(place_of(origin) not in known for origin in headers.getlist("origin")):
            return "Requests from pages of other sites are refused."
        return None

    def knows(self, host: str) -> bool:
        """Whether a name, with or without a port, is one of this server."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        machine = socket.gethostname().lower()
        told = {"localhost", self.server_name.lower(), machine, f"{machine}.local"}
        told |= {urlsplit(address).hostname or "" for address in self.addresses()}
        if name in told - {"", *EVERYWHERE}:
            return True
        try:
            address = ipaddress.ip_address(name)  # no name that can be made to lead here
        except ValueError:
            return False
        return address.is_loopback or self.server_name in EVERYWHERE

    def addresses(self) -> list[str]:
        """The public addresses there are."""
        return [address for address in (self.root_path, self.demo.share_url) if address and "://" in address]


def place_of(address: str) -> str | None:
    """Host and port of a web address; None if it has none."""
    try:
        return urlsplit(address).netloc.lower() or None
    except ValueError:
        return None


def guarded(demo: gr.Blocks, options: dict) -> dict:
    """Options of `gr.Blocks.launch` that put a `Guard` in front of the page."""
    server_name = options.get("server_name") or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    root_path = options.get("root_path") or os.environ.get("GRADIO_ROOT_PATH")
    guard = Middleware(Guard, demo=demo, server_name=server_name, root_path=root_path)
    return options | {"app_kwargs": {**options.get("app_kwargs", {}), "middleware": [guard]}}


def answer_in_sentences(demo: gr.Blocks) -> None:
    """Whatever goes wrong in a request, its answer is a sentence; Gradio's own is null for all but a `gr.Error`."""
    check = demo.validate_inputs
    wrong = "The arguments do not fit this function. “Use via API” on the page lists its arguments."

    def validate_inputs(*args, **options):
        try:
            return check(*args, **options)
        except ValueError:
            raise toast(wrong) from None

    def misfit(error: Exception) -> str:
        logger.info("Arguments that do not fit: %r", error)
        return wrong

    def fault(error: Exception) -> str:
        if isinstance(error, MemoryError):
            return "There is not enough memory for this; send less at a time."
        logger.error("A request failed.", exc_info=error)
        return "This did not work, and the fault is the server's; its log says more."

    demo.validate_inputs = validate_inputs  # type: ignore[method-assign]
    demo.preprocess_data = answering(demo.preprocess_data, misfit)  # type: ignore[method-assign]
    demo.process_api = answering(demo.process_api, fault)  # type: ignore[method-assign]


def answering(function: Callable, sentence: Callable[[Exception], str]) -> Callable:
    """The same function, whose errors are sentences to the visitor."""

    async def answer(*args, **options):
        try:
            return await function(*args, **options)
        except gr.Error:
            raise
        except Exception as error:
            raise toast(sentence(error)) from None

    return answer
