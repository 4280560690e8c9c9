"""What a sweep's stored geometry says: summary, document, charts, table and page."""
