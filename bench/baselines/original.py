# mypy: disable-error-code="import-not-found,unused-ignore"
"""The original design, written for this benchmark: FastAPI, UploadFile, upload_fileobj, a streamed get_object.

FastAPI parses the form into a spooled file (on disk over 1 MiB) before the handler runs, and upload_fileobj reads it
again; a download passes through a threadpool hop for every chunk. Handlers are plain functions, so the event loop is
never blocked. Run it with `uvicorn bench.baselines.original:app`.
"""

import os
from collections.abc import Iterator
from typing import Annotated, Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError
from fastapi import FastAPI, Form, HTTPException, UploadFile
from fastapi.responses import StreamingResponse

MIB = 1024 * 1024
LIMIT = int(os.environ.get("UPLOAD_MULTIPART_LIMIT_MB", "8")) * MIB
PART_SIZE = int(os.environ.get("UPLOAD_MULTIPART_CHUNK_SIZE", "8")) * MIB
CHUNK_SIZE = int(os.environ.get("DOWNLOAD_CHUNK_SIZE", "1")) * MIB

s3 = boto3.client(
    "s3",
    endpoint_url=os.environ.get("S3_ENDPOINT_URL"),
    region_name=os.environ.get("S3_REGION", "us-east-1"),
    verify=os.environ.get("S3_CA_BUNDLE"),
    config=Config(s3={"addressing_style": "path"}),
)


def upload(
    bucket_name: Annotated[str, Form()], object_name: Annotated[str, Form()], file_request: UploadFile
) -> dict[str, Any]:
    """Store the form's file."""
    config = TransferConfig(multipart_threshold=LIMIT, multipart_chunksize=PART_SIZE)
    try:
        s3.upload_fileobj(file_request.file, bucket_name, object_name, Config=config)
    except ClientError as error:
        raise HTTPException(400, f"Unable to upload file to S3 {error}") from error
    return {"detail": "File uploaded successfully", "status_code": 200}


def download(bucket_name: str, object_name: str) -> StreamingResponse:
    """Stream the object."""
    try:
        found = s3.get_object(Bucket=bucket_name, Key=object_name)
    except ClientError as error:
        raise HTTPException(400, f"File {object_name} or bucket {bucket_name} not found.") from error
    chunks: Iterator[bytes] = found["Body"].iter_chunks(CHUNK_SIZE)
    return StreamingResponse(chunks, media_type=found["ContentType"])


app = FastAPI()
app.add_api_route("/files", upload, methods=["POST"])
# Without this FastAPI would take the annotation of `download` for a response model.
app.add_api_route("/files", download, methods=["GET"], response_model=None)
