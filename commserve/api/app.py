"""The application: every route, every exception, one place."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel

from commserve.api import (
    agents,
    asking,
    hypervisors,
    jobs,
    machines,
    plans,
    points,
    pools,
    problems,
    restores,
    retrying,
    rules,
    users,
)
from commserve.api.body_limit import BodyLimit
from commserve.api.call import Replayed
from commserve.api.problems import Problem
from commserve.api.traced import Traced
from commserve.services import Services

PREFIX = "/api/v1"
_MOST_BYTES = 1 << 20  # of a request's body

health = APIRouter(tags=["health"])


class Health(BaseModel):
    status: str


@health.get("/health", response_model=Health)
def show_health() -> Health:
    """Answers as long as requests are answered; says nothing about what is protected. Needs no token."""
    return Health(status="ok")


# the routes that need no token; a test knows them by these names
OPEN = frozenset({"show_health", "log_in", "show_authority", "join_agent"})
ROUTERS = (
    health,
    agents.router,
    hypervisors.router,
    machines.router,
    rules.router,
    plans.router,
    pools.router,
    points.router,
    jobs.router,
    asking.router,
    restores.router,
    retrying.router,
    users.router,
)


def make_app(services: Services) -> FastAPI:
    """The REST interface of one CommServe."""
    app = FastAPI(
        title="Ingot CommServe",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
        responses={"4XX": {"model": Problem, "description": "Refused", "content": {problems.MEDIA_TYPE: {}}}},
    )
    app.state.services = services
    app.state.writing = asyncio.Lock()
    app.add_middleware(BodyLimit, most_bytes=_MOST_BYTES)
    app.add_middleware(Traced, ids=services.ids)
    problems.install(app)
    app.add_exception_handler(Replayed, _replayed)
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX)
    return app


def _replayed(_request: Request, error: Exception) -> Response:
    if not isinstance(error, Replayed):
        raise TypeError(type(error))
    return error.answer
