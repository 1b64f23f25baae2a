"""`/api/v1/documents`: texts with their labels, and all that is known of one."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, Parameter, QueryParameter

from monitor.web.answers import AnyRequest
from monitor.web.api import cursors
from monitor.web.api.listing import DEFAULT_LIMIT, Cursor, Limit, Listing
from monitor.web.desk import Desk, last_segment
from stream.domain.documents import LONGEST_SOURCE
from stream.domain.entities import LONGEST_ENTITY
from stream.storage.desk.documents import Position, StoredText, TextFilter, TextLine, Texts
