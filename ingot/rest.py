"""The CommServe's REST interface as the command line uses it: the same one that everybody else uses."""

from __future__ import annotations

import json
import os
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from ingot.faults import AuthorityUnreadable, CommServeAbsent, CommServeSilent, TokenUnreadable
from proto.faults import RemoteFault
from runtime.faults import Retry

_SECONDS = 30.0
_PAGE = 1000
_JOB_ACTIVE = "commserve.job_active"
CLIENT_FILE = "client.json"
_LOST = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadTimeout)
_UNTRUSTED = "; --authority names the CommServe's own authority: server/authority.pem in its state directory"


@dataclass(frozen=True)
class Connection:
    """Where the CommServe is, and who we are to it. `authority` is a file of certificates; None where http will do."""

    url: str
    token_file: Path
    authority: Path | None = None

    @staticmethod
    def of(url: str | None, token_file: Path | None, authority: Path | None, state: Path) -> Connection:
        """What was asked for; what is not, from what `ingot up` left in `state`. Raises CommServeAbsent."""
        left: dict[str, Any] = {}
        path = state / CLIENT_FILE
        if url is None:
            try:
                left = json.loads(path.read_text())
            except (OSError, ValueError) as error:
                raise CommServeAbsent(
                    f"no CommServe is named (--commserve, INGOT_COMMSERVE), and `ingot up` left none in {path}"
                ) from error
            url = str(left["url"])
        token = token_file or (Path(left["token_file"]) if "token_file" in left else None)
        if token is None:
            raise CommServeAbsent(f"{url}: --token-file or INGOT_TOKEN_FILE names the file with your token")
        found = left.get("authority")
        return Connection(url.rstrip("/"), token, authority or (Path(found) if found else None))


class Rest:
    """Use as a context. Raises RemoteFault for what the CommServe refuses, CommServeSilent when it does not answer."""

    def __init__(self, connection: Connection) -> None:
        """Raises TokenUnreadable, AuthorityUnreadable."""
        self.url = connection.url
        verify = _trusting(connection.authority)
        headers = {"Authorization": f"Bearer {_token(connection.token_file)}"}
        self._http = httpx.Client(
            base_url=f"{connection.url}/api/v1", headers=headers, verify=verify, timeout=_SECONDS, trust_env=False
        )

    def get(self, path: str, **query: Any) -> Any:
        """What lies at `path`."""
        return self._ask("GET", path, query, None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Done once, though a lost answer makes us ask twice: the CommServe knows the second by its key."""
        return self._ask("POST", path, {}, body or {})

    def put(self, path: str, body: dict[str, Any]) -> Any:
        return self._ask("PUT", path, {}, body)

    def delete(self, path: str) -> None:
        self._ask("DELETE", path, {}, None)

    def all(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list, page by page."""
        cursor = None
        while True:
            page = self.get(path, limit=_PAGE, **query, **({"cursor": cursor} if cursor else {}))
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def _ask(self, method: str, path: str, query: dict[str, Any], body: dict[str, Any] | None) -> Any:
        headers = {"Idempotency-Key": uuid4().hex} if method == "POST" else {}
        request = self._http.build_request(
            method, quote(path), params={k: v for k, v in query.items() if v is not None}, json=body, headers=headers
        )
        try:
            answer = self._answer(request)
        except httpx.HTTPError as error:
            untrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
            raise CommServeSilent(f"{self.url}: {error}" + (_UNTRUSTED if untrusted else "")) from error
        if answer.is_success:
            return answer.json() if answer.content else None
        raise self._refusal(answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        """Where an answer is lost it may be done: what is the same when it is done twice is asked for again."""
        try:
            return self._http.send(request)
        except _LOST:
            if request.method == "DELETE":
                raise  # the second time there would be none, which is no answer to the first
            return self._http.send(request)

    def _refusal(self, answer: httpx.Response) -> RemoteFault:
        try:
            problem = answer.json()
            return RemoteFault(str(problem["detail"]), str(problem["code"]), Retry(problem["retry"]))
        except (ValueError, KeyError, TypeError):
            return RemoteFault(f"{self.url}: {answer.status_code} {answer.reason_phrase}", "proto.unknown", Retry.NEVER)

    def __enter__(self) -> Rest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()


def discovery(rest: Rest, hypervisor: str) -> dict[str, Any]:
    """The job that looks for machines of a hypervisor now: the one that does so already, or a new one."""
    while True:
        try:
            job: dict[str, Any] = rest.post(f"/hypervisors/{hypervisor}/discover")
        except RemoteFault as fault:
            if fault.remote_code != _JOB_ACTIVE:
                raise
            active = rest.get("/jobs", kind="discover", hypervisor_id=hypervisor, state="active", limit=1)["items"]
            if not active:
                continue  # it ended in between
            job = active[0]
        return job


def _trusting(authority: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:  # SSLError is one: no certificates in it
        raise AuthorityUnreadable(f"{authority}: expected a file of certificates, PEM: {error}") from error


def _token(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenUnreadable(f"{path}: expected a file with a token: {error}") from error
    if stat.S_IMODE(mode) & 0o077 and path.stat().st_uid == os.getuid():
        raise TokenUnreadable(f"{path}: others may read it (mode {stat.S_IMODE(mode):o}); chmod 600 it")
    return text
