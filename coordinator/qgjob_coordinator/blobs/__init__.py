"""Files of any size, kept in a folder or an object store: the only place that knows obstore."""
