"""
Anything at all, where strangers can send it: the peer port, the HTTP port, the command
line, and whatever is decoded from a disk or a peer.

What is sent is right, or nearly right (:mod:`tests.fuzz.mutation`), or nonsense, and
arrives in pieces of any size at the production code in memory:

* :mod:`tests.fuzz.frames`: AMP frames, at the inbound side of the peer port;
* :mod:`tests.fuzz.answers`: the same, at the side of a link that has asked;
* :mod:`tests.fuzz.requests`: HTTP requests, at the site, on every route that it has;
* :mod:`tests.fuzz.bytes_read`: bytes, at everything that decodes some;
* :mod:`tests.fuzz.command_lines`: words, at the parsers of the command line.

Nothing may hang, grow, log a failure, or send a traceback to a client; whatever is
refused is refused in the documented way; and after all of it the same server still
serves a right request.

``pytest tests/fuzz`` does a share of half a minute, with new seeds each time unless
``HRAFTD_FUZZ_SEED`` gives one. The long run tells how fast it went and how much memory
it took, too::

    python -m tests.fuzz --frames 1000000 --requests 100000

and ``--answers``, ``--reads`` and ``--command-lines`` do more of the rest.

Each attempt has its own random numbers, of the seed and the attempt's number; a failure
names both, and ``--first`` begins with that attempt.
"""
