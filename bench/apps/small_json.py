"""A Quart application with one small JSON answer: the same object for our ASGI bridge and for Hypercorn."""

from quart import Response
from quart_trio import QuartTrio

app = QuartTrio("small_json")


@app.get("/v1/small")
async def small() -> dict[str, object]:
    return {"id": "018f2b6e-5c1d-7c3a-9d5e-1f2a3b4c5d6e", "title": "a stream", "status": "live", "viewers": 1234, "tags": ["a", "b"]}


@app.after_request
async def plain(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
