"""The desk's pages, a module each: what it reads, and its handlers.

A parameter of a path is declared as `FromPath[str]`, one of a query as `FromQuery[str | None]`.  An id that
may have any character is taken from the raw path instead (`monitor.web.desk.last_segment`).
"""
