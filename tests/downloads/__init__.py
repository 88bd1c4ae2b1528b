"""Downloads, from servers of every kind."""
