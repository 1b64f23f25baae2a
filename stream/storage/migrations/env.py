"""Alembic runs this for each command, on the connection in the configuration that it was given."""

from alembic import context

from stream.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
