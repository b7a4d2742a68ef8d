"""Rows of metrics in, curves as PNG or SVG out. Needs the extra `charloom[report]`."""
