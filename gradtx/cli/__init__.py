"""The ``gradtx`` command: compare optimizers on real data, draw their paths, list what there is.

Nothing here is imported by the library; the packages it needs are the extra ``cli``.
"""
