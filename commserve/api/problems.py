"""Failures as `application/problem+json`: the fault's code, its message, and what to do about it."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from commserve.faults import NotAuthenticated, NotFound, RequestInvalid, RequestTooLong, Unexpected
from runtime.faults import Fault

MEDIA_TYPE = "application/problem+json"
_LOG = logging.getLogger(__name__)
_MOST_DETAILS = 5


class Problem(BaseModel):
    """RFC 9457, with the fault's code and what is known about trying again."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retry: str


def problem(status: int, code: str, detail: str, retry: str) -> Response:
    body = {
        "type": f"urn:ingot:fault:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "retry": retry,
    }
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
    return Response(json.dumps(body), status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """The one place where exceptions become answers."""
    app.add_exception_handler(Fault, _of_fault)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_surprise)


def _of_fault(_request: Request, error: Exception) -> Response:
    if not isinstance(error, Fault):
        raise TypeError(type(error))
    return problem(getattr(error, "status", 500), error.code, str(error), error.retry.value)


def _of_validation(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise TypeError(type(error))
    # Neither the input nor its context is repeated: there may be a password in it.
    details = "; ".join(_detail(**found) for found in error.errors()[:_MOST_DETAILS])
    return problem(RequestInvalid.status, RequestInvalid.code, details, RequestInvalid.retry.value)


def _detail(loc: tuple[str | int, ...], msg: str, **_: object) -> str:
    """Where in the body or the query, and what is wrong there in our own words where they are ours."""
    where = ".".join(map(str, loc[1:] if loc[1:] else loc))
    return f"{where}: {msg.removeprefix('Value error, ')}"


def _of_http(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError(type(error))
    code = {401: NotAuthenticated.code, 404: NotFound.code, 413: RequestTooLong.code}.get(
        error.status_code, RequestInvalid.code
    )
    answer = problem(error.status_code, code, str(error.detail), "never")
    answer.headers.update(error.headers or {})
    return answer


def _of_surprise(request: Request, error: Exception) -> Response:
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _of_fault(request, Unexpected("a fault of the program itself; its log says more"))
