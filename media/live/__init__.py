"""Live streams: a publisher's records become parts and segments in memory; what becomes of them is the outputs' business."""
