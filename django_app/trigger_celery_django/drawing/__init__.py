"""Markup that is built in Python: timelines, source, values and badges as escaped HTML and SVG."""
