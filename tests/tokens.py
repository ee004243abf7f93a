"""Issuers of real JWTs with keys of their own, and a real little HTTP server that names the keys."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from types import TracebackType
from typing import Any, Self

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

USER, ORG = "user_ada", "org_acme"
CLERK = "https://clerk.example.com"
CLUSTER = "https://kubernetes.default.svc.cluster.local"


class Signer:
    """A key pair."""

    def __init__(self, kid: str = "key-1", *, algorithm: str = "RS256", bits: int = 2048) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.private: Any = (
            rsa.generate_private_key(65537, bits) if algorithm == "RS256" else ec.generate_private_key(ec.SECP256R1())
        )

    @property
    def pem(self) -> str:
        public: bytes = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return public.decode()

    @property
    def jwk(self) -> dict[str, Any]:
        kind: Any = RSAAlgorithm if self.algorithm == "RS256" else ECAlgorithm
        public = kind.to_jwk(self.private.public_key(), as_dict=True)
        return {**public, "kid": self.kid, "use": "sig", "alg": self.algorithm}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """A header of None is left out."""
        headers = {name: value for name, value in {"kid": self.kid, **header}.items() if value is not None}
        return jwt.encode(claims, self.private, algorithm=self.algorithm, headers=headers)


def session_claims(**changed: Any) -> dict[str, Any]:
    """Those of a token in version 2; what is None is left out."""
    now = int(time.time())
    claims = {
        "v": 2,
        "iss": CLERK,
        "sub": USER,
        "sid": "sess_1",
        "iat": now,
        "nbf": now - 10,
        "exp": now + 60,
        "azp": "https://app.example.com",
        "o": {"id": ORG, "rol": "member"},
        "sts": "active",
    }
    return {name: value for name, value in (claims | changed).items() if value is not None}


def service_account_claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {
        "iss": CLUSTER,
        "aud": ["clerksync"],
        "sub": "system:serviceaccount:shop:orders",
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "orders", "uid": "1"}},
    }
    return {name: value for name, value in (claims | changed).items() if value is not None}


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def unsigned(claims: dict[str, Any], kid: str = "key-1") -> str:
    """With the algorithm `none`."""
    header = {"alg": "none", "typ": "JWT", "kid": kid}
    return f"{_part(json.dumps(header).encode())}.{_part(json.dumps(claims).encode())}."


def signed_with_public_key(claims: dict[str, Any], signer: Signer) -> str:
    """HS256, with what everybody knows as the secret."""
    header = {"alg": "HS256", "typ": "JWT", "kid": signer.kid}
    text = f"{_part(json.dumps(header).encode())}.{_part(json.dumps(claims).encode())}"
    return f"{text}.{_part(hmac.new(signer.pem.encode(), text.encode(), hashlib.sha256).digest())}"


def jwks_of(*signers: Signer) -> bytes:
    return json.dumps({"keys": [signer.jwk for signer in signers]}).encode()


class JwksServer:
    """Names keys over HTTP; can be broken, and counts how often it is asked."""

    def __init__(self, *signers: Signer, tls: Any = None, port: int = 0) -> None:
        self.body = jwks_of(*signers)
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked = 0
        self.authorizations: list[str | None] = []
        self.moving = asyncio.Event()
        """Cleared, no answer comes."""
        self.moving.set()
        self._tls = tls
        self._port = port

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/jwks", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}/jwks"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.moving.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        self.authorizations.append(request.headers.get("Authorization"))
        await self.moving.wait()
        return web.Response(body=self.body, status=self.status, headers=self.headers)
