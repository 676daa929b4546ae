#!/bin/sh
# One server process, for supervisord; run from the project root.
# PYTHON: the interpreter, when it is not the one of the virtual environment.

# A connection is a descriptor, and S3's side needs some too. Where this user may not have so many: all they may have.
# shellcheck disable=SC3045  # dash, bash and BusyBox all know -n and -H
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -H -n)"

# exec, so that supervisord's SIGTERM reaches the server itself.
exec "${PYTHON:-.venv/bin/python}" server.py
