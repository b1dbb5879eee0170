"""The frozen baseline of a bundle: how the inputs were distributed where the model learned.

`bins` fixes what is counted, `population` counts (training, serving and replay by the same code), `file` keeps it
in the bundle as `baseline.npz`. Serving only adds counts, so those of hours and replicas can be added up.
"""
