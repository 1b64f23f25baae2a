"""The API: lists as JSON, `{"items": [...], "next": cursor or null}`, and actions on incidents."""
