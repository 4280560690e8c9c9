"""Numbers, tables, charts and pages, whatever they are about."""
