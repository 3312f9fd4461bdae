"""The leak audit: a small world of people and documents, acts upon it, and a search of every byte that leaves for
what its reader may not see. A black box: it speaks HTTP and knows nothing of how Bascule decides.

    world   who may read what: an oracle of its own
    scan    canaries in bytes, however they are torn or wrapped
    probes  every way of reading, as requests
    client  one person's requests
    office  the acts of an administrator
    watch   probes while acts go on, judged against the oracle
    audit   a whole run and its report
"""
