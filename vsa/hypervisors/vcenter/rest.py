"""The REST interface of a vCenter, which knows what the other does not: tags.

A vCenter since 7.0.2 has it below /api, an older one below /rest, where each answer is wrapped in a `value`. Sessions
here are apart from those of SOAP.
"""

from __future__ import annotations

import ssl
import threading
from typing import Any

import httpx

from vsa.faults import CertificateRefused, HypervisorFailed, HypervisorRefused, HypervisorUnreachable, PrivilegeMissing

_SESSION_HEADER = "vmware-api-session-id"
_SECONDS = 60.0


class Rest:
    """Safe to use from several threads; logs in when it is first asked."""

    def __init__(self, address: str, user: str, password: str, context: ssl.SSLContext) -> None:
        self._address = address
        self._login = httpx.BasicAuth(user, password)
        self._client = httpx.Client(
            base_url=f"https://{address}", verify=context, timeout=_SECONDS, trust_env=False, follow_redirects=False
        )
        self._lock = threading.Lock()
        self._session: str | None = None
        self._old = False

    def get(self, path: str) -> Any:
        """What lies at a path below /api or its like before: `cis/tagging/tag`. Raises what `translated` names."""
        return self._ask("GET", path, None, None)

    def list_all(self, path: str, action: str, body: Any) -> Any:
        """The answer to an action that changes nothing: a POST because its question is long."""
        return self._ask("POST", path, action, body)

    def act(self, path: str, action: str, body: Any) -> Any:
        """Do something that does no harm when it is done twice; its answer, None where it has none."""
        return self._ask("POST", path, action, body)

    def close(self) -> None:
        """Log out, without waiting for more than one answer."""
        with self._lock:
            if self._session is not None:
                try:
                    self._client.delete(self._session_path, headers={_SESSION_HEADER: self._session})
                except httpx.HTTPError:
                    self._session = None  # it ends by itself there
            self._client.close()

    @property
    def _session_path(self) -> str:
        return "/rest/com/vmware/cis/session" if self._old else "/api/session"

    def _ask(self, method: str, path: str, action: str | None, body: Any) -> Any:
        session = self._logged_in(None)
        reply = self._send(method, path, action, body, session)
        if reply.status_code == 401:  # it ran out
            reply = self._send(method, path, action, body, self._logged_in(session))
        return self._value(reply, path)

    def _send(self, method: str, path: str, action: str | None, body: Any, session: str) -> httpx.Response:
        whole = f"/rest/com/vmware/{path}" if self._old else f"/api/{path}"
        asked = {("~action" if self._old else "action"): action} if action else None
        return self._request(method, whole, params=asked, json=body, headers={_SESSION_HEADER: session})

    def _logged_in(self, ended: str | None) -> str:
        """The session; a new one where there is none, or it is the one that ended."""
        with self._lock:
            if self._session is None or self._session == ended:
                reply = self._request("POST", self._session_path, auth=self._login)
                if reply.status_code in (404, 405) and not self._old:
                    self._old = True
                    reply = self._request("POST", self._session_path, auth=self._login)
                if reply.status_code == 401:
                    raise HypervisorRefused(f"{self._address}: REST: the user or the password is not accepted")
                self._session = str(self._value(reply, "session"))
            return self._session

    def _request(self, method: str, path: str, **rest: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **rest)
        except httpx.HTTPError as error:
            if isinstance(error.__cause__ and error.__cause__.__context__, ssl.SSLCertVerificationError):
                raise CertificateRefused(f"{self._address}: {error}") from error
            raise HypervisorUnreachable(f"{self._address}: REST: {str(error) or type(error).__name__}") from error

    def _value(self, reply: httpx.Response, path: str) -> Any:
        where = f"{self._address}: REST: {path}"
        if reply.status_code == 403:
            raise PrivilegeMissing(f"{where}: not permitted")
        if not reply.is_success:
            raise HypervisorFailed(f"{where}: HTTP status {reply.status_code}", str(reply.status_code))
        if not reply.content:
            return None
        try:
            said = reply.json()
        except ValueError as error:
            raise HypervisorFailed(f"{where}: expected JSON: {error}", "") from error
        return said["value"] if self._old and isinstance(said, dict) and "value" in said else said
