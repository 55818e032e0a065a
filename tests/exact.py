"""Bytes in an allocation of exactly their length, so that the address sanitizer sees a read behind the last one."""

from array import array


def exact(data: bytes) -> "array[int]":
    return array("B", data)[:]  # the slice has no room to grow, unlike its source; `bytes` end in a NUL
