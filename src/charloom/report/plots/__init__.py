"""Learning curves in; PNG and SVG plots out. Needs the extra `charloom[report]`."""
