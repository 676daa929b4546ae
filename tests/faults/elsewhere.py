"""What is in the catalogue of faults and threats and not in the table: other tests show it, or it does not touch us."""

from __future__ import annotations

from tests.faults.row import Omitted

SITE = "needs nginx and supervisord: tests/deploy/test_site.py"

OMITTED: tuple[Omitted, ...] = (
    Omitted("C13", "a bad credential with a large body", "tests/http/test_authorization.py"),
    Omitted("C18", "nginx sends no upload twice", "needs nginx: tests/deploy/test_nginx_conf.py"),
    Omitted(
        "N1", "each toxic on each side", "one by one: at the store S8, S14, S17, S18, S20, here C1 to C5, C14, C15"
    ),
    Omitted("N2", "a peer that is gone without FIN", "to us it is one that falls silent: C2, C14, S8"),
    Omitted("P10", "rolling restart under load", SITE),
    Omitted("G1", "wrong settings", "tests/test_settings.py"),
    Omitted("G3", "nginx allows what the service does", "tests/deploy/test_nginx_conf.py"),
    Omitted("A1", "a path with two meanings", "tests/protocol/test_keys.py, tests/deploy/test_nginx_conf.py"),
    Omitted("A2", "dots and empty segments in a key", "tests/protocol/test_keys.py; C8 plays one"),
    Omitted("A3", "a bucket or endpoint from the request", "tests/protocol/test_keys.py"),
    Omitted("A4", "a method or route without authorization", "tests/http/test_authorization.py"),
    Omitted("A5", "another's object", "tests/http/test_authorization.py"),
    Omitted("A6", "malformed credentials", "tests/access/test_credentials.py"),
    Omitted("A7", "request smuggling", "tests/http/test_smuggling.py"),
    Omitted("A8", "headers within headers", "tests/http/test_get.py"),
    Omitted("A9", "names that break out of Content-Disposition", "tests/protocol/test_disposition.py"),
    Omitted("A10", "stored pages that would run as ours", "tests/http/test_get.py"),
    Omitted("A11", "queries that set response headers", "no query of ours sets one: tests/http/test_get_by_query.py"),
    Omitted("A12", "control characters in a key", "tests/protocol/test_keys.py"),
    Omitted("A13", "keys that are too long", "tests/protocol/test_keys.py"),
    Omitted("A14", "forms that cost more than they are", "tests/protocol/test_forms.py"),
    Omitted("A15", "forms with two meanings", "tests/protocol/test_forms_conformance.py"),
    Omitted("A16", "a compressed body", "it is stored as it comes: tests/http/test_put.py"),
    Omitted(
        "A17", "headers that cost more than they are", "a limit, and Tornado's tests: tests/http/test_smuggling.py"
    ),
    Omitted("A18", "slow clients in numbers", "one by one C2 to C4 and C14; in numbers bench/README.md"),
    Omitted("A19", "a forged client address", SITE),
    Omitted("A20", "requests of another site", "tests/http/test_cross_site.py"),
    Omitted(
        "A21",
        "redirects and Host",
        "only a link repeats Host, to its maker: tests/http/test_links.py",
    ),
    Omitted("A22", "secrets in logs", "I5 looks after every row"),
    Omitted("A23", "log lines within log lines", "JSON escapes them: tests/http/test_errors.py"),
    Omitted("A24", "the store's words and stack traces in answers", "I5 looks after every row"),
    Omitted("A25", "a broken access file or ledger lets nobody in", "tests/access/test_reload.py"),
    Omitted("A26", "rights that end during an upload", "tests/http/test_authorization.py"),
    Omitted("A27", "overwriting by accident", "C17 and S11 with If-None-Match"),
    Omitted("A28", "private answers in caches", "tests/http/test_cross_site.py"),
    Omitted(
        "A29",
        "pages for operators",
        "health and readiness tell nothing, metrics are on a port of their own: tests/http/test_health.py",
    ),
    Omitted("A30", "the image", "tests/deploy/test_image.py"),
    Omitted("A31", "rights at S3", "README.md lists those needed; moto enforces none"),
    Omitted("A32", "TLS that is not verified", "no setting turns it off: docs/configuration.md"),
    Omitted("A33", "versions with known holes", "all are pinned: requirements.txt"),
    Omitted("A34", "many ranges", "tests/protocol/test_ranges.py"),
    Omitted("A35", "a store filled up", "C6 and C7 for one object; quotas: tests/access"),
    Omitted("A36", "files that are not what they say", "nothing looks into files; they are never run as ours (A10)"),
)
