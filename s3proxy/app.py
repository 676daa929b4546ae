"""The URL table."""

from __future__ import annotations

from tornado.web import Application

from s3proxy.handlers.buckets import BucketHandler
from s3proxy.handlers.files import FilesHandler
from s3proxy.handlers.health import LiveHandler, ReadyHandler, UnknownHandler
from s3proxy.handlers.links import LinkHandler, LinksHandler
from s3proxy.handlers.objects import ObjectHandler
from s3proxy.service import Service


def make_app(service: Service) -> Application:
    """The application of one process."""
    shared = {"service": service}
    return Application(
        [
            (r"/files/?", FilesHandler, shared),
            (r"/files/[^/]+/?", BucketHandler, shared),
            (r"/files/[^/]+/.+", ObjectHandler, shared),
            (r"/links/?", LinksHandler, shared),
            (r"/links/[^/]+", LinkHandler, shared),
            (r"/healthz", LiveHandler, shared),
            (r"/readyz", ReadyHandler, shared),
        ],
        default_handler_class=UnknownHandler,
        default_handler_args=shared,
        log_function=lambda handler: None,  # Every handler writes its own line about the outcome.
    )
