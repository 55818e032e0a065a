"""The HTTP API: one application, made from services by `app.build`; imported when a listener first needs it."""
