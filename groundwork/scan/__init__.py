"""Has an independent judge, OpenSCAP with Debian's content, say how hard a host is."""
