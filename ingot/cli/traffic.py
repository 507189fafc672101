"""What a job asked of the repository: requests, bytes, and what the owner of a bucket is billed for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingot.quantities import size_text

if TYPE_CHECKING:
    from ingot.embedded import Repo


def traffic_document(repo: Repo) -> dict[str, Any]:
    """For `--json`. `usd` is null where nobody bills requests."""
    counts = repo.counts
    return {
        "requests": dict(counts.requests),
        "sent_bytes": counts.sent_bytes,
        "received_bytes": counts.received_bytes,
        "usd": counts.usd if _is_billed(repo) else None,
    }


def traffic_lines(repo: Repo) -> list[str]:
    """One line for people; none for a disk of theirs."""
    if not _is_billed(repo):
        return []
    counts = repo.counts
    asked = ", ".join(f"{count} {request}" for request, count in counts.requests.items() if count)
    bytes_ = f"{size_text(counts.sent_bytes)} sent, {size_text(counts.received_bytes)} received"
    return [f"  traffic  {asked}; {bytes_}; about ${counts.usd:.4f} at list prices"]


def _is_billed(repo: Repo) -> bool:
    return repo.pool.repository.url.startswith("s3:")
