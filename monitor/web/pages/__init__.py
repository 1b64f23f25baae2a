"""The desk's pages, a module each: what it reads, and its handlers."""
