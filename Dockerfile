# s3proxy: its server processes on one port, run by supervisord. How to run the image: deploy/README.md
FROM python:3.13-slim

WORKDIR /app

# Wheels only: nothing is compiled here, so nothing to compile with is needed.
COPY requirements.txt ./
COPY deploy/requirements.txt deploy/
RUN pip install --no-cache-dir --only-binary=:all: -r requirements.txt -r deploy/requirements.txt

# The only place that is written to, so that the rest may be read-only: the spool, supervisord's pid file and socket.
RUN useradd --uid 10001 --user-group --no-log-init --create-home --home-dir /var/spool/s3proxy s3proxy
VOLUME /var/spool/s3proxy

COPY server.py settings.py supervisord.conf ./
COPY s3proxy s3proxy/
COPY deploy/serve.sh deploy/
COPY deploy/processes-from-env.conf deploy/processes.conf

# WORKERS: server processes. MALLOC_: give the memory of finished transfers back (deploy/README.md, "Memory").
ENV HOST=0.0.0.0 \
    PORT=8000 \
    WORKERS=2 \
    PYTHON=/usr/local/bin/python \
    HOME=/var/spool/s3proxy \
    TMPDIR=/var/spool/s3proxy \
    SPOOL_DIR=/var/spool/s3proxy \
    MALLOC_MMAP_THRESHOLD_=4194304 \
    MALLOC_TRIM_THRESHOLD_=4194304

# By number, so that Kubernetes can see it is not root.
USER 10001:10001

EXPOSE 8000

HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]

# Drains on SIGTERM, longer than Docker waits by itself: `docker stop -t 90`.
CMD ["supervisord", "-n", "-c", "/app/supervisord.conf"]
