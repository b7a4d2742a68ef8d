"""An address in, the pages of a site out: within limits, politely, and kept in a cache."""
