"""AWS on one machine: moto's server, plus what groundcrew needs and moto lacks or has wrong.

Every module adds one service's part to moto's own classes with an `install()` of its own; `front` is
the WSGI application before moto, `__main__` the server. This is test equipment: it says that a call
works, not that AWS would do the same. Nothing here reaches the network.
"""
