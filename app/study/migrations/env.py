"""How alembic reaches the database: by the connection it is given."""

from alembic import context

from app.study.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
