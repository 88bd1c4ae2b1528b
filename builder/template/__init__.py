"""A project's templates: they get plain data, and their output is limited."""
