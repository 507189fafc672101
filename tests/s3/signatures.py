"""Signature Version 4 as a service computes it from a request that came in."""

from __future__ import annotations

import hashlib
import hmac
import re
import urllib.parse


def signature(secret: str, method: str, target: str, headers: dict[str, str], authorization: str) -> str:
    """In hexadecimal. `headers` by lower-case name; `target` is path and query as they came."""
    scope = re.search(r"Credential=[^/]+/([^,]+),", authorization)
    signed = re.search(r"SignedHeaders=([^,]+),", authorization)
    assert scope
    assert signed
    path, _, query = target.partition("?")
    pairs = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
    parts = [method, urllib.parse.quote(urllib.parse.unquote(path), safe="/~")]
    parts.append("&".join(f"{urllib.parse.quote(k, safe='~')}={urllib.parse.quote(v, safe='~')}" for k, v in pairs))
    parts += [f"{name}:{' '.join(headers[name].split())}" for name in signed[1].split(";")]
    parts += ["", signed[1], headers["x-amz-content-sha256"]]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope[1], digest])
    date, region, service, last = scope[1].split("/")
    key = ("AWS4" + secret).encode()
    for step in (date, region, service, last, text):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    return key.hex()
