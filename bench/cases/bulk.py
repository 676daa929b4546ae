"""One large object at a time, up and down, over http and https stores."""

from collections.abc import Callable

from bench.case import Case, Entry, check_stored, measure_transfer, size_of
from bench.contender import BUCKET, NGINX, NGINX_256K, ORIGINAL, S3PROXY, Contender
from bench.goal import Goal
from bench.load import ClientRun, aws_copy, download, run, upload, upload_form
from bench.sample import Sample
from bench.stage import Stage
from bench.store import Kind
from bench.workplace import ACCESS

Measure = Callable[[Stage], Sample]
NO_PROXY, FORM, ORIGINAL_FORM, AWS = "no proxy", "s3proxy form", "original form", "aws s3 cp"


def _put(contender: Contender, kind: Kind) -> Measure:
    def measure(stage: Stage) -> Sample:
        store, server, size = stage.store(kind), stage.server(contender, kind), size_of(stage.scale.bulk)
        command = upload(contender.url(server, "upload"), stage.workplace.source(size))
        sample = measure_transfer(store, server, command, size, timeout=stage.scale.timeout)
        check_stored(store, "upload", size)
        return sample

    return measure


def _post_form(contender: Contender, kind: Kind) -> Measure:
    def measure(stage: Stage) -> Sample:
        store, server, size = stage.store(kind), stage.server(contender, kind), size_of(stage.scale.bulk)
        command = upload_form(contender.form_url(server), stage.workplace.source(size), "form-upload")
        sample = measure_transfer(store, server, command, size, timeout=stage.scale.timeout)
        check_stored(store, "form-upload", size)
        return sample

    return measure


def _get(contender: Contender, kind: Kind) -> Measure:
    def measure(stage: Stage) -> Sample:
        store, server, size = stage.store(kind), stage.server(contender, kind), size_of(stage.scale.bulk)
        command = download(contender.url(server, stage.scale.bulk))
        return measure_transfer(store, server, command, size, timeout=stage.scale.timeout)

    return measure


def _put_straight(stage: Stage) -> Sample:
    store, size = stage.store(Kind.HTTP), size_of(stage.scale.bulk)
    command = upload(f"{store.backing.url}/{BUCKET}/straight", stage.workplace.source(size))
    sample = measure_transfer(store, None, command, size, timeout=stage.scale.timeout)
    check_stored(store, "straight", size)
    return sample


def _get_straight(stage: Stage) -> Sample:
    store, size = stage.store(Kind.HTTP), size_of(stage.scale.bulk)
    command = download(f"{store.backing.url}/{BUCKET}/{stage.scale.bulk}")
    return measure_transfer(store, None, command, size, timeout=stage.scale.timeout)


def _aws_up(stage: Stage) -> Sample:
    size = size_of(stage.scale.bulk)
    sample = _aws(stage, str(stage.workplace.source(size)), f"s3://{BUCKET}/aws-upload")
    check_stored(stage.store(Kind.HTTP), "aws-upload", size)
    return sample


def _aws_down(stage: Stage) -> Sample:
    target = stage.workplace.folder / "aws-download"
    sample = _aws(stage, f"s3://{BUCKET}/{stage.scale.bulk}", str(target))
    target.unlink()
    return sample


def _aws(stage: Stage, *places: str) -> Sample:
    """`aws s3 cp`: here the client itself does the work, so its own CPU and memory are shown."""
    store = stage.store(Kind.HTTP)
    store_meter = store.process.meter()
    command = aws_copy(stage.workplace.python, store.backing.url, *places)
    env = {**ACCESS, "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    finished: ClientRun = run(command, timeout=stage.scale.timeout, env=env)
    return Sample(
        wall=finished.wall,
        size=size_of(stage.scale.bulk),
        cpu=finished.cpu,
        peak=finished.peak,
        store_cpu=store_meter.read().cpu,
    )


CASES = (
    Case(
        name="download-http",
        title="GET of one large object, http store",
        entries=(
            Entry("s3proxy", _get(S3PROXY, Kind.HTTP)),
            Entry("nginx", _get(NGINX, Kind.HTTP)),
            Entry("nginx 256k", _get(NGINX_256K, Kind.HTTP)),
            Entry("original", _get(ORIGINAL, Kind.HTTP)),
            Entry(AWS, _aws_down),
            Entry(NO_PROXY, _get_straight),
        ),
        goals=(
            Goal(text="CPU per GiB against nginx", metric="cpu_per_gib", of="s3proxy", against="nginx", limit=0.8),
            Goal(text="CPU against the original", metric="cpu_per_gib", of="s3proxy", against="original", limit=0.5),
            Goal(text="wall against the original", metric="wall", of="s3proxy", against="original", limit=0.5),
        ),
    ),
    Case(
        name="upload-http",
        title="PUT of one large object, http store",
        entries=(
            Entry("s3proxy", _put(S3PROXY, Kind.HTTP)),
            Entry("nginx", _put(NGINX, Kind.HTTP)),
            Entry("nginx 256k", _put(NGINX_256K, Kind.HTTP)),
            Entry(FORM, _post_form(S3PROXY, Kind.HTTP)),
            Entry(ORIGINAL_FORM, _post_form(ORIGINAL, Kind.HTTP)),
            Entry(AWS, _aws_up),
            Entry(NO_PROXY, _put_straight),
        ),
        goals=(
            Goal(text="CPU per GiB against nginx", metric="cpu_per_gib", of="s3proxy", against="nginx", limit=3.0),
            Goal(text="wall against aws s3 cp", metric="wall", of="s3proxy", against=AWS, limit=0.7),
            Goal(text="CPU against the original", metric="cpu_per_gib", of=FORM, against=ORIGINAL_FORM, limit=0.5),
            Goal(text="wall against the original", metric="wall", of=FORM, against=ORIGINAL_FORM, limit=0.5),
        ),
    ),
    Case(
        name="upload-https",
        title="PUT of one large object, https store",
        entries=(
            Entry("s3proxy", _put(S3PROXY, Kind.HTTPS)),
            Entry("nginx", _put(NGINX, Kind.HTTPS)),
        ),
        goals=(Goal(text="CPU per GiB against nginx", metric="cpu_per_gib", of="s3proxy", against="nginx", limit=1.5),),
    ),
    Case(
        name="download-https",
        title="GET of one large object, https store",
        entries=(
            Entry("s3proxy", _get(S3PROXY, Kind.HTTPS)),
            Entry("nginx", _get(NGINX, Kind.HTTPS)),
        ),
        goals=(Goal(text="CPU per GiB against nginx", metric="cpu_per_gib", of="s3proxy", against="nginx", limit=1.3),),
    ),
)
