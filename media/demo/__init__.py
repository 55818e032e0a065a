"""The demo publisher of `nova serve --demo`: a moving picture with the time burned in and a tone, over real RTMP.

`publisher` is what the server starts; it runs `python -m nova.media.demo` as a process of its own, so that encoding
shares neither the GIL nor the memory of the server.
"""
