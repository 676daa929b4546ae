"""`/files/BUCKET/`: what a bucket holds."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlencode

from tornado.template import Loader
from tornado.web import stream_request_body

from s3proxy.access.policy import Action
from s3proxy.errors import BadRequest, BucketNotFound, S3ProxyError
from s3proxy.handlers.body import BodyHandler
from s3proxy.protocol.keys import ObjectPath, check_prefix, is_bucket_name, split_path
from s3proxy.store.contract import Listing

PAGE_SIZE = 1000
"""Rows of a page, at most and by default; S3's own limit (ListObjectsV2)."""

PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; frame-ancestors 'none'"

PAGES = Loader(str(Path(__file__).parent.parent / "web"))


@stream_request_body
class BucketHandler(BodyHandler):
    """GET and HEAD of a listing, as JSON or as a page for people."""

    async def begin(self) -> None:
        """Refuse a name that no bucket has, and a prefix that no key has."""
        self.bucket = split_path(self.request.path.removeprefix("/files/"))[0]
        if not is_bucket_name(self.bucket):
            raise BucketNotFound
        self.prefix = check_prefix(self.query("prefix"))
        self.guest.permit_all(Action.LIST, ObjectPath(self.bucket, self.prefix))

    async def get(self) -> None:
        """One page of the listing; `cursor` in it asks for the next."""
        if await self.ended():
            return
        wants_page = "text/html" in self.request.headers.get("Accept", "")
        prefix = self.prefix
        delimiter = self.query("delimiter", "/" if wants_page else "")
        listing = await self.service.store.list(
            self.bucket,
            prefix=prefix,
            delimiter=delimiter,
            limit=self._limit(),
            cursor=self.query("cursor") or None,
        )
        self.set_header("Vary", "Accept")
        self.set_header("Cache-Control", "no-store")
        if wants_page:
            self._show(listing, prefix, delimiter)
        else:
            self.answer(self._rows(listing, prefix, delimiter))

    async def head(self) -> None:
        """As `get`, without the rows."""
        await self.get()

    def explain(self, fault: S3ProxyError) -> tuple[int, str]:
        """Name the bucket that was not found."""
        if isinstance(fault, BucketNotFound):
            return fault.status, f"Bucket {self.bucket} does not exist."
        return super().explain(fault)

    def _limit(self) -> int:
        text = self.query("limit", str(PAGE_SIZE))
        if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 6 and int(text)):
            raise BadRequest("limit is not a number from 1 on.")
        return min(int(text), PAGE_SIZE)

    def _rows(self, listing: Listing, prefix: str, delimiter: str) -> dict[str, object]:
        return {
            "bucket": self.bucket,
            "prefix": prefix,
            "delimiter": delimiter,
            "objects": [
                {
                    "key": row.key,
                    "size": row.size,
                    "etag": row.etag,
                    "last_modified": row.last_modified.isoformat(),
                }
                for row in listing.objects
            ],
            "prefixes": list(listing.prefixes),
            "cursor": listing.cursor,
        }

    def _show(self, listing: Listing, prefix: str, delimiter: str) -> None:
        base = f"/files/{quote(self.bucket)}/"

        def page(**query: str) -> str:
            return base + "?" + urlencode({"delimiter": delimiter} | query)

        parent = prefix.rstrip("/").rpartition("/")[0]
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", PAGE_POLICY)
        self.finish(
            PAGES.load("listing.html").generate(
                bucket=self.bucket,
                prefix=prefix,
                up=page(prefix=parent + "/" if parent else "") if prefix else None,
                folders=[(name.removeprefix(prefix), page(prefix=name)) for name in listing.prefixes],
                files=[
                    (row.key.removeprefix(prefix) or row.key, base + quote(row.key), row) for row in listing.objects
                ],
                more=page(prefix=prefix, cursor=listing.cursor) if listing.cursor else None,
            )
        )
