"""Why a value differs: ordered rules, each of which says which of the witnesses it explains.

`rules.RULES` is the table, in order. A rule looks at one feature's witnesses (`case.Case`) and gives a mask over them
with what it saw, or None. The cause is that which explains most of them, the earlier rule where two explain as many;
it has to explain more than half. Rules in
`LAST_RULES` are tried where no other does. Rules are small functions, a module a family:

of_replicas    one server process, and no other
of_assembly    the way from stored values to the model's matrix: order of columns, dictionaries, transforms
of_defaults    a default where there is a value, or another default
of_rows        whether the row was there, which one it was, when it was known
of_clocks      times that are off by hours
of_numbers     precision, units, clipping
of_columns     other features' values
of_other_rows  other candidates' and users' rows
of_vectors     embeddings
of_offline     the offline side: future in it, rewritten since
"""
