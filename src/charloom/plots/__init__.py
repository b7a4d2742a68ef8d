"""Curves of runs, as rows and as pictures. Drawing needs the extra `charloom[report]`."""
