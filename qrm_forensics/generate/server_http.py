"""HTTP to one server: bounded answers, retries, a key that stays where it is, and an end in order.

Requests run in an event loop of their own thread, so that it makes no difference whether the caller has one
(a notebook does).  Redirects are never followed: a key must not go to another host.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from qrm_forensics.errors import InputError, missing_extra
from qrm_forensics.generate.server_answers import error_text

Result = TypeVar("Result")

#: Bytes of one answer.  32,768 tokens with their log-probabilities take about 10 MB.
MAX_BYTES = 256 * 2**20
MAX_ERROR_BYTES = 64 * 2**10
#: Seconds: the first wait before another attempt (each further one is twice as long), and the longest.
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0
CONNECT_SECONDS = 20.0
#: Answers after which the same request may well succeed.
TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Rejected(Exception):
    """The server will not answer this request, however often it is asked."""


class GaveUp(Exception):
    """No usable answer after all attempts."""


class _Transient(Exception):
    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class Key:
    """An API key.  It shows in no text: neither by ``repr`` nor in what :meth:`hide` has gone over."""

    def __init__(self, value: str, variable: str) -> None:
        value = value.strip()
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise InputError(f"server backend: the environment variable {variable} holds no API key that can be sent")
        self._value = value

    def __repr__(self) -> str:
        return "Key(hidden)"

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._value}"}

    def hide(self, text: str) -> str:
        """``text`` with the key, if it is there, replaced."""
        for form in {self._value, json.dumps(self._value)[1:-1]}:
            text = text.replace(form, "[API key]")
        return text


class Connection:
    """A server at ``base_url`` (which ends in ``/v1`` or wherever its API begins).

    ``timeout``: seconds for one whole attempt.  ``retries``: further attempts after connection errors, timeouts, the
    statuses in TRY_AGAIN and answers that are no JSON.  A context manager: at its end, requests that still run are
    cancelled, then the connections are closed.
    """

    def __init__(self, base_url: str, key: Key | None, *, timeout: float, retries: int, concurrency: int) -> None:
        try:
            import httpx
        except ImportError as error:
            raise missing_extra("the server backend", "server", error) from error
        self.base_url = base_url.rstrip("/")
        self._key = key
        self._timeout = timeout
        self._retries = retries
        self._jitter = random.Random()
        self._http = httpx.AsyncClient(
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                **(key.headers() if key is not None else {}),
            },
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            limits=httpx.Limits(max_connections=concurrency + 1, max_keepalive_connections=concurrency + 1),
            follow_redirects=False,
            # A proxy is for other hosts; the settings of the environment count for those.
            trust_env=urlsplit(base_url).hostname not in _LOOPBACK,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="server backend", daemon=True)

    def __enter__(self) -> Connection:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        mine = asyncio.current_task()
        running = [task for task in asyncio.all_tasks() if task is not mine]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._http.aclose()

    def submit(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def hidden(self, text: str) -> str:
        return self._key.hide(text) if self._key is not None else text

    async def ask(self, path: str, body: Mapping[str, Any] | None = None, *, at_most: int | None = None) -> Any:
        """The JSON value that the server answers: POST of ``body``, or GET without one.  ``at_most``: as many retries, where more are allowed.

        Raises Rejected (this request will not be answered), GaveUp (no usable answer after all attempts), or
        InputError where no request at all would be answered: the key is wrong, or the address or model is.
        """
        attempts = 1 + (self._retries if at_most is None else min(at_most, self._retries))
        for attempt in range(attempts):
            try:
                return await self._once(path, body)
            except _Transient as error:
                if attempt + 1 == attempts:
                    tried = f" ({attempts} attempts)" if attempts > 1 else ""
                    raise GaveUp(f"{error}{tried}") from None
                wait = FIRST_WAIT * 2.0**attempt * self._jitter.uniform(0.5, 1.5)
                await asyncio.sleep(min(LONGEST_WAIT, max(wait, error.wait or 0.0)))
        raise AssertionError("unreachable")

    async def _once(self, path: str, body: Mapping[str, Any] | None) -> Any:
        import httpx

        # ASCII escapes: half a surrogate pair in a prompt can be sent as well
        content = None if body is None else json.dumps(body).encode("ascii")
        headers = {} if content is None else {"Content-Type": "application/json"}
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._http.stream(
                    "GET" if content is None else "POST", self.base_url + path, content=content, headers=headers
                ) as answer,
            ):
                return await self._read(answer, path)
        except TimeoutError:
            raise _Transient(f"no whole answer within {self._timeout:g} s") from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            # Not chained: what these errors carry includes the request and its headers.
            said = self.hidden(" ".join(str(error).split())[:200])
            raise _Transient(f"{type(error).__name__}{f': {said}' if said else ''}") from None

    async def _read(self, answer: Any, path: str) -> Any:
        status: int = answer.status_code
        if status == 200:
            data = await self._bytes(answer, MAX_BYTES)
            kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind and kind != "application/json" and not kind.endswith("+json"):
                raise Rejected(f"answered {self.hidden(kind)[:80]!r} where JSON was expected; is base_url right?")
            try:
                return json.loads(self.hidden(data.decode("utf-8")))
            except (ValueError, RecursionError):
                raise _Transient("answered something that is not JSON") from None
        if 300 <= status < 400:
            where = self.hidden(str(answer.headers.get("location", "another address"))[:200])
            raise InputError(
                f"the server at {self.base_url} redirects {path} to {where}; redirects are not followed, so that a key "
                "goes to no other host: set base_url to the final address"
            )
        said = await self._said(answer)
        if status in (401, 402, 403):
            raise InputError(f"the server at {self.base_url} refuses access ({status}): {said}; see api_key_env")
        if status in (404, 405):
            raise InputError(
                f"the server at {self.base_url} does not know {path} or the model ({status}): {said}; check base_url and model"
            )
        if status in TRY_AGAIN or status >= 500:
            raise _Transient(f"answered {status}: {said}", _retry_after(answer.headers.get("retry-after")))
        raise Rejected(f"answered {status}: {said}")

    async def _said(self, answer: Any) -> str:
        data = await self._bytes(answer, MAX_ERROR_BYTES, cut=True)
        text = self.hidden(data.decode("utf-8", "replace"))
        try:
            return self.hidden(error_text(json.loads(text)))
        except (ValueError, RecursionError):
            return " ".join(text.split())[:200]

    async def _bytes(self, answer: Any, limit: int, cut: bool = False) -> bytes:
        """The body, undecoded: a compressed one, which nobody asked for, could become as large as it likes."""
        encoding = answer.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise Rejected(f"answered in the encoding {encoding[:40]!r}, which was not asked for")
        parts, size = [], 0
        async for part in answer.aiter_raw():
            parts.append(part)
            size += len(part)
            if size > limit:
                if cut:
                    break
                raise Rejected(f"answered more than {limit / 2**20:g} MiB")
        return b"".join(parts)[:limit]


def _retry_after(value: str | None) -> float | None:
    """Seconds, of a number or a date; None for anything else."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT) if seconds == seconds else None
