"""
The command line for people and their scripts: ``hraftd get`` and its like.

What is typed is read in :mod:`hraftd.commands.parsing`, what is shown goes through
:mod:`hraftd.commands.screen`, and how a command ends is one of
:mod:`hraftd.commands.endings`. What the commands do is done by
:mod:`hraftd.client`: there is no HTTP in here.
"""
