"""A client of the channels (docs/realtime.md) for trio: `machine` decides, `client` does the I/O.

For browsers: web/static/js/lib/realtime.js, which is the same machine.

```python
async with connect("wss://nova.example/v1/ws", token=get_token) as realtime:
    async with realtime.subscribe("public:lobby") as room:
        await room.publish({"text": "hello"})
        async for event in room:
            ...
```
"""

from nova.realtime.client.client import Realtime, Refused, Stopped, Subscription, connect
from nova.realtime.client.events import Gap, Joined, Left, Member, Publication

__all__ = ["Gap", "Joined", "Left", "Member", "Publication", "Realtime", "Refused", "Stopped", "Subscription", "connect"]
