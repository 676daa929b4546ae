"""supervisord.conf and the files it includes: what they promise."""

from __future__ import annotations

import re
from configparser import RawConfigParser

import pytest

from s3proxy.protocol.parts import MIN_PART_SIZE
from server import CLEANUP_SECONDS
from settings import MIB

from .site import ROOT, default

PROGRAM = "program:s3proxy"


def read(*names: str) -> RawConfigParser:
    """The files as supervisord reads them: later ones add to earlier ones."""
    parser = RawConfigParser(strict=False, inline_comment_prefixes=(";", "#"))
    parser.read([ROOT / name for name in names])
    return parser


@pytest.fixture(scope="module")
def conf() -> RawConfigParser:
    """What a plain host runs."""
    return read("supervisord.conf", "deploy/processes.conf")


def test_it_starts_where_no_variable_is_set(conf: RawConfigParser) -> None:
    assert conf["include"]["files"] == "deploy/processes.conf"
    assert not [value for section in conf.values() for value in section.values() if "%(ENV_" in value]


def test_a_restart_of_one_process_leaves_another(conf: RawConfigParser) -> None:
    assert conf.getint(PROGRAM, "numprocs") >= 2
    assert "%(process_num)" in conf[PROGRAM]["process_name"]


def test_a_process_that_ends_is_started_again_whatever_its_exit_code(conf: RawConfigParser) -> None:
    assert conf[PROGRAM]["autorestart"] == "true"


def test_term_drains_and_kill_comes_only_after_the_drain_and_its_clean_up(conf: RawConfigParser) -> None:
    assert conf[PROGRAM]["stopsignal"] == "TERM"
    drain = default("shutdown_grace_seconds") + default("linger_seconds") + CLEANUP_SECONDS
    assert conf.getint(PROGRAM, "stopwaitsecs") > drain


def test_each_process_serves_alone(conf: RawConfigParser) -> None:
    assert 'WORKERS="1"' in conf[PROGRAM]["environment"]


@pytest.mark.parametrize("name", ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"])
def test_memory_of_parts_is_given_back_and_that_of_single_reads_is_not(conf: RawConfigParser, name: str) -> None:
    found = re.search(f'{name}="(\\d+)"', conf[PROGRAM]["environment"])
    assert found
    assert default("download_chunk_size") * MIB < int(found[1]) < MIN_PART_SIZE


def test_everything_is_said_on_standard_output_and_no_file_grows(conf: RawConfigParser) -> None:
    assert conf["supervisord"]["logfile"] == conf[PROGRAM]["stdout_logfile"] == "/dev/fd/1"
    assert conf["supervisord"]["logfile_maxbytes"] == conf[PROGRAM]["stdout_logfile_maxbytes"] == "0"
    assert conf[PROGRAM]["redirect_stderr"] == "true"


def test_lines_of_several_processes_are_not_mixed(conf: RawConfigParser) -> None:
    # Unbuffered, Python writes a printed line and its end one after the other.
    assert "PYTHONUNBUFFERED" not in conf[PROGRAM]["environment"]
    assert "PYTHONUNBUFFERED" not in (ROOT / "Dockerfile").read_text()


def test_the_control_socket_is_for_the_same_user_alone(conf: RawConfigParser) -> None:
    assert conf["unix_http_server"]["file"].startswith("~/")
    assert conf["unix_http_server"]["chmod"] == "0700"
    assert conf["supervisorctl"]["serverurl"] == f"unix://{conf['unix_http_server']['file']}"
    assert "inet_http_server" not in conf


def test_supervisord_asks_for_no_more_descriptors_than_any_user_may_have(conf: RawConfigParser) -> None:
    assert conf.getint("supervisord", "minfds") <= 1024
