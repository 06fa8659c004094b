"""Where the keys of the store are: on one server, on whichever Sentinels name, or spread over a Cluster.

Above this package nobody knows which: a script and its key go in, the reply comes out.
"""
