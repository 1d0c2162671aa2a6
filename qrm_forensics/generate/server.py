"""``server``: any server that speaks OpenAI's API, such as vLLM, SGLang, llama.cpp, TGI or a hosted model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from qrm_forensics.errors import EnvironmentMissing, InputError
from qrm_forensics.generate.server_http import Connection, GaveUp, Key, Rejected
from qrm_forensics.generate.server_session import OPTIONAL, PATHS, Served, ServerSession
from qrm_forensics.records import ModelRef
from qrm_forensics.tokenizer import load_tokenizer


class Server:
    """Asks a server that runs already; it holds the checkpoint, so nothing is quantized or loaded here.

    ``base_url`` (ends in ``/v1`` for most servers) and ``model`` (its name there; left out, the only one that the server
    lists) are one value, or a mapping by variant where several are served, under names or at addresses of their own; variants are
    called by their recipe, or ``model--recipe`` in a study of several models.  ``ModelRef.recipe`` says which one is asked.
    ``api``: ``completions`` sends the exact prompt text; ``chat`` sends it as one user turn, which the server puts into
    its own template.  ``batch_size``: requests at the same time.  ``timeout``: seconds for one attempt, the whole response
    included.  ``retries``: further attempts (connection errors, timeouts, 429, 5xx).  ``api_key_env``: the *name* of the
    environment variable that holds the key.  ``logprobs``: whether to ask for them.  ``extra``: further fields of the
    request body, for servers that need any.

    ``open`` raises InputError or EnvironmentMissing where the server cannot be reached or used.
    """

    name = "server"
    #: Nothing is quantized or loaded here: the server has the checkpoint.
    serves = True
    #: Options that change how requests are made and not what is answered.
    operational = frozenset({"timeout", "retries", "api_key_env"})

    def __init__(
        self,
        base_url: str | Mapping[str, str],
        model: str | Mapping[str, str] | None = None,
        api: str = "completions",
        batch_size: int = 8,
        timeout: float = 3600.0,
        retries: int = 5,
        api_key_env: str | None = None,
        logprobs: bool = True,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        for url in base_url.values() if isinstance(base_url, Mapping) else [base_url]:
            _check_url(url)
        if api not in PATHS:
            raise InputError(f"server backend: api must be one of {', '.join(PATHS)}, got {api!r}")
        if batch_size < 1:
            raise InputError(f"server backend: batch_size must be 1 or more, got {batch_size}")
        if not timeout > 0 or retries < 0:
            raise InputError(f"server backend: timeout must be above 0 and retries 0 or more, got {timeout}, {retries}")
        taken = sorted(set(extra or ()) & {*_FIELDS, *OPTIONAL})
        if taken:
            raise InputError(f"server backend: extra must not set {taken[0]!r}, which the study or the backend sets")
        self._base_url, self._model = base_url, model
        self._api, self._batch_size, self._timeout, self._retries = api, batch_size, timeout, retries
        self._key_variable = api_key_env
        self._logprobs, self._extra = logprobs, dict(extra or {})

    def refuse(self, variants: Sequence[str]) -> str | None:
        """Why these variants cannot be asked for, or None: one model would answer for several of them."""
        where = {v: (_for(self._base_url, v, "base_url"), _for(self._model, v, "model")) for v in variants}
        same = next((v for v in variants if list(where.values()).count(where[v]) > 1), None)
        if same is None:
            return None
        other = next(v for v in variants if v != same and where[v] == where[same])
        return (
            f"the server backend would ask the same model for {same} and for {other}; give base_url or model as a "
            f"mapping, for example model: {{{same}: …, {other}: …}}"
        )

    @contextmanager
    def open(self, model: ModelRef) -> Iterator[ServerSession]:
        url = _for(self._base_url, model.recipe, "base_url")
        assert url is not None
        key = self._key()
        with Connection(
            url, key, timeout=self._timeout, retries=self._retries, concurrency=self._batch_size
        ) as connection:
            served = _served(connection, _for(self._model, model.recipe, "model"))
            yield ServerSession(
                connection,
                served,
                chat=self._api == "chat",
                concurrency=self._batch_size,
                logprobs=self._logprobs,
                extra=self._extra,
                tokenizer=_local_tokenizer(model.path),
            )

    def _key(self) -> Key | None:
        if self._key_variable is None:
            return None
        value = os.environ.get(self._key_variable)
        if value is None:
            raise EnvironmentMissing(
                f"server backend: the environment variable {self._key_variable} is not set; it has to hold the API key"
            )
        return Key(value, self._key_variable)


#: Fields of the request body that the study decides.
_FIELDS = (
    "model",
    "prompt",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "n",
    "best_of",
    "stream",
    "echo",
    "top_logprobs",
)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        parts.port  # noqa: B018  (raises ValueError for a port that is none)
    except ValueError:
        usable = False
    if not usable:
        raise InputError("server backend: base_url must look like http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(
            "server backend: base_url is stored with the run and must hold no user, password or query; "
            "name the environment variable of the key as api_key_env"
        )


def _for(value: str | Mapping[str, str] | None, variant: str, option: str) -> str | None:
    if not isinstance(value, Mapping):
        return value
    if variant not in value:
        raise InputError(f"server backend: {option} names {', '.join(value)}, but not {variant}")
    return value[variant]


def _served(connection: Connection, wanted: str | None) -> Served:
    """The model to ask.  A server without ``/models`` is taken at its word where ``wanted`` is given."""
    url = connection.base_url
    try:
        listed = connection.submit(connection.ask("/models", at_most=2)).result()
    except GaveUp as error:
        raise EnvironmentMissing(
            f"no server answers at {url}: {error}; start it, or set base_url to where it is"
        ) from None
    except (Rejected, InputError) as error:
        if wanted is None or "refuses access" in str(error) or "redirects" in str(error):
            raise InputError(f"{url}/models cannot be read: {error}") from None
        return Served(wanted, None)
    rows = listed.get("data") if isinstance(listed, Mapping) else None
    found: dict[str, Served] = {}
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, Mapping) and isinstance(row.get("id"), str):
            longest = row.get("max_model_len")
            found[row["id"]] = Served(row["id"], longest if type(longest) is int and longest > 0 else None)
    if wanted is not None:
        # A name that is not listed may be an alias; the server refuses it by itself where it is not.
        return found.get(wanted, Served(wanted, None))
    if len(found) != 1:
        names = ", ".join(list(found)[:5]) or "none"
        raise InputError(f"the server at {url} lists {len(found)} models ({names}); name one as the option model")
    return next(iter(found.values()))


def _local_tokenizer(path: str) -> Any:
    """The checkpoint's own tokenizer where its folder is here; None otherwise: a server can be asked without."""
    if not path or not (Path(path) / "tokenizer.json").is_file():
        return None
    try:
        return load_tokenizer(path)
    except (EnvironmentMissing, OSError, ValueError):
        return None
