"""What a sweep's stored geometry says: summary, document, charts, table and page."""

BARRIER_THRESHOLD = 0.05  # the largest barrier within one basin, in nats per row, unless another is asked for
