"""Both servers answer the same before anything is timed."""

import http.client
import ssl


def fetch(port: int, path: str, *, tls: bool = False) -> bytes:
    """The body of a 200. Raises AssertionError for anything else."""
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, f"{path}: {response.status} {body[:200]!r}"
        return body
    finally:
        connection.close()
