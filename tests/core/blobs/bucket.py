"""A bucket of moto's S3: botocore's own requests, answered in this process, with S3's rules (least size of a part, conditions, pages)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from nova.core.blobs.s3 import S3Blobs
from nova.core.offload import Offload

NAME = "nova-test"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}


@contextmanager
def bucket(prefix: str = "some/where/") -> Iterator[S3Blobs]:
    import boto3
    from moto import mock_aws

    with patch.dict(os.environ, CREDENTIALS), mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=NAME)
        yield S3Blobs(NAME, prefix, Offload())
