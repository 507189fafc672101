"""Who is logged in: by password, with a cookie, until he is idle for thirty minutes by the simulator's clock."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pyVmomi import vim

from tests.sim.vcenter.objects import Call, Simulated, serves

IDLE_SECONDS = 1800.0


@dataclass
class Session:
    """One login. Collectors, views and filters belong to it and end with it."""

    key: str
    user: str
    began: datetime
    seen: float  # by the simulator's clock
    calls: int = 0  # under way
    agent: str = ""
    objects: list[str] = field(default_factory=list)

    def shown(self) -> vim.UserSession:
        seen = datetime.fromtimestamp(self.seen, self.began.tzinfo)
        return vim.UserSession(
            key=self.key,
            userName=self.user,
            fullName=self.user.partition("@")[0],
            loginTime=self.began,
            lastActiveTime=seen,
            locale="en",
            messageLocale="en",
            extensionSession=False,
            ipAddress="127.0.0.1",
            userAgent=self.agent,
            callCount=self.calls,
        )


class Sessions(Simulated):
    """All of them."""

    kind = vim.SessionManager
    shown = {
        "sessionList": lambda self: [each.shown() for each in self.by_key.values()],
        "maxSessionCount": lambda self: 2000,
        "supportedLocale": lambda self: ["en"],
        "defaultLocale": lambda self: "en",
    }

    def __init__(self, vcenter: Any, moid: str) -> None:
        super().__init__(vcenter, moid)
        self.by_key: dict[str, Session] = {}
        self.password_by_user: dict[str, str] = {}
        self.idle_seconds = IDLE_SECONDS

    def login(self, user: str, password: str, agent: str = "") -> Session:
        """Raises InvalidLogin."""
        self.check(user, password)
        clock = self.vcenter.clock
        session = Session(str(uuid.uuid4()), user.lower(), clock.now(), clock.seconds(), agent=agent)
        self.by_key[session.key] = session
        return session

    def check(self, user: str, password: str) -> None:
        """Raises InvalidLogin."""
        if not user or self.password_by_user.get(user.lower()) != password:
            raise vim.fault.InvalidLogin(msg="Cannot complete login due to an incorrect user name or password.")

    def find(self, key: str) -> Session | None:
        """The session of a key if it lives; it is seen now."""
        session = self.by_key.get(key)
        now = self.vcenter.clock.seconds()
        if session is not None and not session.calls and now - session.seen > self.idle_seconds:
            self.end(session)
            return None
        if session is not None:
            session.seen = now
        return session

    def end(self, session: Session) -> None:
        """With everything that is its own."""
        self.by_key.pop(session.key, None)
        for moid in session.objects:
            self.vcenter.forget(moid)
        self.vcenter.changes.rouse()

    def expire(self, user: str | None = None) -> int:
        """Control: end everybody's sessions, or one user's. How many there were."""
        ended = [each for each in self.by_key.values() if user is None or each.user == user.lower()]
        for each in ended:
            self.end(each)
        return len(ended)


@serves(vim.SessionManager, "Login", needs_session=False)
def log_in(call: Call, sessions: Sessions, userName: str, password: str, locale: str | None = None) -> vim.UserSession:
    if call.session is not None:
        raise vim.fault.InvalidLogin(msg="This connection is logged in already.")
    call.session = sessions.login(userName, password, call.agent)
    return call.session.shown()


@serves(vim.SessionManager, "Logout")
def log_out(call: Call, sessions: Sessions) -> None:
    assert call.session is not None
    sessions.end(call.session)


@serves(vim.SessionManager, "SessionIsActive", "Sessions.ValidateSession")
def is_active(call: Call, sessions: Sessions, sessionID: str, userName: str) -> bool:
    session = sessions.by_key.get(sessionID)
    return session is not None and session.user == userName.lower()


@serves(vim.SessionManager, "TerminateSession", "Sessions.TerminateSession")
def terminate(call: Call, sessions: Sessions, sessionId: list[str]) -> None:
    for key in sessionId:
        if key not in sessions.by_key:
            raise vim.fault.NotFound(msg=f"no session {key}")
        sessions.end(sessions.by_key[key])
