"""GET /jwks.json: the public keys by which a tool checks that a call was approved here."""

from __future__ import annotations

import json

from flask import Response

from copilot.api.edge import bp
from copilot.gateway import tooltoken


@bp.get("/jwks.json")
def public_keys() -> Response:
    """The keys as a JWKS document (RFC 7517); public, as a signature is only worth what everybody can check."""
    response = Response(json.dumps(tooltoken.public_jwks()), mimetype="application/jwk-set+json")
    response.headers["Cache-Control"] = "public, max-age=300"
    return response
