"""A run's folder: files that are whole or not there (`files`), read into plain data.

`read` gives a `Run`, whose `rates` are those of gradient.csv. What a file must hold is a `layout`
of `shape`s, and what is said of one that does not is `damage`.
"""
