"""Alembic's entry: runs on the connection that stream.database hands over."""

from alembic import context

from stream.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
