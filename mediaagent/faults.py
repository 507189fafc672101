"""What a MediaAgent refuses, and why."""

from __future__ import annotations

from runtime.faults import Fault, Retry


class MediaAgentFault(Fault):
    """Something about a MediaAgent."""


class PoolUnknown(MediaAgentFault):
    """This MediaAgent does not serve the pool."""

    code = "mediaagent.pool_unknown"
    retry = Retry.ELSEWHERE


class PoolUnfit(MediaAgentFault):
    """What this MediaAgent keeps of a pool beside its repository cannot be used."""

    code = "mediaagent.pool_unfit"


class PoolBusy(MediaAgentFault):
    """Sessions use the pool's index, so it cannot be made anew now."""

    code = "mediaagent.pool_busy"
    retry = Retry.LATER


class Draining(MediaAgentFault):
    """This MediaAgent is about to stop and begins nothing new."""

    code = "mediaagent.draining"
    retry = Retry.ELSEWHERE


class SessionsFull(MediaAgentFault):
    """As many sessions as this MediaAgent may hold are open."""

    code = "mediaagent.sessions_full"
    retry = Retry.ELSEWHERE


class SessionMissing(MediaAgentFault):
    """No such session is open here: it ended, nobody was heard of for too long, or the MediaAgent was restarted.

    What it stored is found by the next one.
    """

    code = "mediaagent.session_missing"
    retry = Retry.SOON


class SessionBroken(MediaAgentFault):
    """A session sent something that no right writer sends; it takes nothing more and will never commit."""

    code = "mediaagent.session_broken"


class ContainerRefused(MediaAgentFault):
    """A container does not belong to the session, or its stream is not what was announced."""

    code = "mediaagent.container_refused"


class LeafRefused(MediaAgentFault):
    """A leaf is out of bounds, or names a chunk that is not at that place."""

    code = "mediaagent.leaf_refused"


class RequestRefused(MediaAgentFault):
    """A request says something that cannot be."""

    code = "mediaagent.request_refused"


class StreamBroken(MediaAgentFault):
    """A stream ended early, or began behind what is here: whoever asks how much is here can go on there."""

    code = "mediaagent.stream_broken"
    retry = Retry.SOON


class DenyListOld(MediaAgentFault):
    """The CommServe was not heard for so long that a revoked agent would not be known; nothing new is begun."""

    code = "mediaagent.deny_list_old"
    retry = Retry.LATER
