"""The leak audit: a small world of people and documents, acts upon it, and a search of every byte that leaves for
what its reader may not see. A black box: it speaks HTTP and knows nothing of how Bascule decides.

    world   who may read what: an oracle of its own
    scan    canaries in bytes, however they are torn or wrapped
    cast    the people and documents of one run
    acts    what is done to them, as values
    probes  every way of reading, as requests
    client  one person's requests
    office  the acts of an administrator
    sweep   probes as everybody, quietly and while acts go on
    judge   one reply against the oracle
    shrink  the acts that are enough for a finding
    audit   a whole run and its report
"""
