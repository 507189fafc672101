"""The command line: one file a command. What a command does stands in `ingot.embedded`; here is what it asks and says.

Modules in here import the rooms below inside functions, because `ingot --help` must not wait for numpy.

    app          the commands and their help
    options      options that several commands take
    secret       where a passphrase or key comes from
    screen       how results, notes and faults are said: to a person, or as one JSON document
    progress     bars on a terminal
"""
