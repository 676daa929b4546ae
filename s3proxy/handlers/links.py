"""Links for people without an account: made for an object by `POST …?share`, listed and revoked under `/links`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlencode

from tornado.template import Loader
from tornado.web import stream_request_body

from s3proxy.access.links import Links
from s3proxy.access.policy import Action
from s3proxy.errors import BadRequest, Forbidden
from s3proxy.handlers.body import BodyHandler
from s3proxy.protocol.keys import ObjectPath

DEFAULT_SECONDS = 86_400.0
"""How long a link is good for when nothing else is said."""

MAX_DIGITS = 15

PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"

PAGES = Loader(str(Path(__file__).parent.parent / "web"))


class ShareHandler(BodyHandler):
    """Base of a handler for paths that links are made of, and that show a page to who comes by an upload link."""

    path: ObjectPath

    @property
    def _is_prefix(self) -> bool:
        return self.path.key.endswith("/")

    @property
    def shows_page(self) -> bool:
        """Whether a person has opened an upload link."""
        link = self.guest.link
        wants_page = "text/html" in self.request.headers.get("Accept", "")
        return link is not None and link.action is Action.WRITE and self.request.method == "GET" and wants_page

    def serves(self, method: str) -> bool:
        """POST only with `?share`."""
        return super().serves(method) and (method != "POST" or "share" in self.request.query_arguments)

    def check_share(self) -> None:
        """Refuse to make a link that the principal may not make."""
        permit = self.guest.permit_all if self._is_prefix else self.guest.permit
        permit(Action.SHARE, self.path)

    def check_page(self) -> None:
        """Refuse to show a page that could not upload."""
        permit = self.guest.permit_all if self._is_prefix else self.guest.permit
        permit(Action.WRITE, self.path)

    async def share(self) -> None:
        """Make the link that the query describes."""
        methods = {"GET": Action.READ, "PUT": Action.WRITE}
        action = methods.get(self.query("method", "GET"))
        if action is None:
            raise BadRequest("method is GET, for a link to download, or PUT, for one to upload.")
        if action is Action.READ and self._is_prefix:
            raise BadRequest("A link to download is for one object; this path is a prefix.")
        link, token = await configured(self).issue(
            self.guest.principal,
            action=action,
            path=self.path,
            is_prefix=self._is_prefix,
            seconds=float(self._number("expires") or DEFAULT_SECONDS),
            object_size=self._number("max_size"),
            types=[kind.strip() for kind in self.query("types").split(",") if kind.strip()],
            uses=self._number("uses"),
        )
        base = self.service.public_url or f"{self.request.protocol}://{self.request.host}"
        self.set_header("Cache-Control", "no-store")
        self.answer(
            {
                "detail": "Link created",
                "status_code": 200,
                "url": f"{base}/files/{quote(self.path.bucket)}/{quote(self.path.key)}?link={token}",
                "id": link.id,
                "expires": _time(link.expires),
            }
        )

    def show_page(self) -> None:
        """A form that uploads, for the bearer of the link."""
        query = {"bucket_name": self.path.bucket, "object_name": self.path.key, "link": self.query("link")}
        link = self.guest.link
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", PAGE_POLICY)
        self.set_header("Cache-Control", "no-store")
        self.finish(
            PAGES.load("upload.html").generate(
                name=self.path.key,
                several=self._is_prefix,
                action="/files?" + urlencode(query),
                types=",".join(link.types) if link else "",
                limit=link.object_size if link else None,
            )
        )

    def _number(self, name: str) -> int | None:
        text = self.query(name)
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and int(text)):
            raise BadRequest(f"{name} is not a number from 1 on.")
        return int(text)


@stream_request_body
class LinksHandler(BodyHandler):
    """`/links`: those one has made."""

    async def get(self) -> None:
        """One's own links that are not over, the newest first."""
        if await self.ended():
            return
        rows = await configured(self).list(self.guest.principal)
        self.set_header("Cache-Control", "no-store")
        self.answer(
            {
                "links": [
                    {
                        "id": row.id,
                        "method": "GET" if row.action == Action.READ else "PUT",
                        "bucket": row.bucket,
                        "key": row.key,
                        "created": _time(row.created),
                        "expires": _time(row.expires),
                        "uses": row.uses,
                        "uses_allowed": row.uses_allowed,
                        "revoked": row.revoked,
                    }
                    for row in rows
                ]
            }
        )


@stream_request_body
class LinkHandler(BodyHandler):
    """`/links/ID`: one of them."""

    async def delete(self) -> None:
        """Revoke it: from now on it is worth nothing."""
        if await self.ended():
            return
        await configured(self).revoke(self.guest.principal, self.request.path.removeprefix("/links/"))
        self.answer(None, status=204)


def configured(handler: BodyHandler) -> Links:
    """The links of the service. Raises `Forbidden` where there are none to be had."""
    links = handler.service.links
    if links is None:
        raise Forbidden("Links are not configured.")
    return links


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
