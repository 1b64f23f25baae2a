"""Alembic runs this for each command, on the connection in the configuration that it was given."""

from typing import Any

from alembic import context

from stream.storage.schema import metadata

progress = context.config.attributes.get("progress")


def tell(ctx: Any, step: Any, heads: Any, run_args: Any) -> None:
    """A migration has run."""
    if progress is not None:
        progress(step.up_revision_id)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    on_version_apply=tell,
)
with context.begin_transaction():
    context.run_migrations()
