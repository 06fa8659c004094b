"""What the store's functions take and answer.

Those that are made once for each job of a batch are not frozen: frozen ones take several times as long to make.
"""
