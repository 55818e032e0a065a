"""What everything stands on: settings, errors, ids, clock, lifecycle, limits, log, metrics, stores, bus, the reactor's trio half."""
