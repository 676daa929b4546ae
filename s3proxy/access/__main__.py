"""Making and checking what stands in the access file: `python -m s3proxy.access --help`."""

from __future__ import annotations

import argparse
import base64
import getpass
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from s3proxy.access import api_key
from s3proxy.access.credentials import MAX_PASSWORD_SIZE, canonical
from s3proxy.access.file import AccessFileError, load
from s3proxy.access.password import HASHER
from s3proxy.access.policy import NAME, Action, Principal, Via
from s3proxy.access.snapshot import Policy
from s3proxy.errors import InvalidKey
from s3proxy.protocol.keys import ObjectPath, check_key, is_bucket_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. The exit status: 0 for done or yes, 1 for no or a broken file, 2 for a wrong call."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except (AccessFileError, ValueError) as fault:
        print(fault, file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m s3proxy.access", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    new_key = commands.add_parser("new-key", help="make an API key; it is shown once")
    new_key.add_argument("name", type=_name, metavar="NAME")
    new_key.set_defaults(run=_new_key)

    hash_password = commands.add_parser("hash-password", help="hash a password, asked for or read from standard input")
    hash_password.add_argument("name", type=_name, nargs="?", default="NAME", metavar="NAME")
    hash_password.set_defaults(run=_hash_password)

    new_secret = commands.add_parser("new-secret", help="make a secret that signs share links")
    new_secret.set_defaults(run=_new_secret)

    check = commands.add_parser("check", help="check an access file and sum it up")
    check.add_argument("file", type=Path, metavar="FILE")
    check.set_defaults(run=_check)

    may = commands.add_parser("may", help="tell whether somebody may do something")
    may.add_argument("file", type=Path, metavar="FILE")
    may.add_argument("name", type=_name, metavar="NAME")
    may.add_argument("action", type=Action, choices=list(Action), metavar="ACTION", help=", ".join(Action))
    may.add_argument("path", type=_path, metavar="BUCKET/KEY", help="as it is in the store, not percent-encoded")
    may.add_argument(
        "--group",
        action="append",
        default=[],
        dest="groups",
        help="ask about a name that a token or proxy vouches for in this group of the file; may be repeated",
    )
    may.set_defaults(run=_may)
    return parser


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError("names are 1 to 128 letters, digits and . _ @ + = -")
    return text


def _path(text: str) -> ObjectPath:
    bucket, _, key = text.partition("/")
    try:
        if not is_bucket_name(bucket):
            raise argparse.ArgumentTypeError("that is no name of a bucket")
        return ObjectPath(bucket, check_key(key))
    except InvalidKey as fault:
        raise argparse.ArgumentTypeError(fault.message) from None


def _new_key(options: argparse.Namespace) -> int:
    key = api_key.new_key()
    print(f"The key, which is not kept anywhere and not shown again:\n\n{key}\n")
    print(f'For the access file:\n\n[principals."{options.name}"]\nkeys = ["{api_key.written_hash(key)}"]')
    return 0


def _hash_password(options: argparse.Namespace) -> int:
    password = _read_password()
    if not password or len(password.encode()) > MAX_PASSWORD_SIZE or not password.isprintable():
        raise ValueError(f"A password is 1 to {MAX_PASSWORD_SIZE} bytes of UTF-8 without control characters.")
    if api_key.is_one(password):
        raise ValueError("That is an API key; `new-key` prints what the access file holds of one.")
    print(f'[principals."{options.name}"]\npassword = "{HASHER.hash(canonical(password))}"')
    return 0


def _read_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise ValueError("These were two different passwords.")
    return password


def _new_secret(options: argparse.Namespace) -> int:
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    print(f'For the access file, before the secrets that are there:\n\n[links]\nsecrets = ["{secret}"]')
    return 0


def _check(options: argparse.Namespace) -> int:
    policy = load(options.file)
    counts = {
        "principals": len(policy.principals),
        "groups": len(policy.groups),
        "API keys": len(policy.keys),
        "passwords": len(policy.passwords),
        "token issuers": len(policy.issuers),
    }
    print(f"{options.file} is good:", ", ".join(f"{count} {what}" for what, count in counts.items()))
    for kind, members in (("principal", policy.principals), ("group", policy.groups)):
        for name, rights in sorted(members.items()):
            print(f"{kind} {name}", *(f"[{group}]" for group in rights.groups))
            for actions, on in rights.grants:
                print(f"  {on}: {', '.join(action for action in Action if action in actions)}")
    return 0


def _may(options: argparse.Namespace) -> int:
    principal = _principal(load(options.file), options.name, options.groups)
    allowed = principal is not None and principal.may(options.action, options.path)
    print("yes" if allowed else "no")
    return 0 if allowed else 1


def _principal(policy: Policy, name: str, groups: Sequence[str]) -> Principal | None:
    if name in policy.principals and not groups:
        return policy.resolve(name, Via.KEY)
    return policy.resolve(name, Via.OIDC, groups) or policy.resolve(name, Via.PROXY, groups)


if __name__ == "__main__":
    sys.exit(main())
