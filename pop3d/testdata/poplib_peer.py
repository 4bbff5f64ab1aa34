# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a maildrop with Python's poplib: PORT MODE CA, MODE plain|stls|tls."""
import poplib
import ssl
import sys

port, mode, ca = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=ca)
if mode == "tls":
    pop = poplib.POP3_SSL("localhost", port, context=context, timeout=20)
else:
    pop = poplib.POP3("localhost", port, timeout=20)
if mode == "stls":
    pop.stls(context)
assert "TOP" in pop.capa()
pop.user("alice@example.org")
pop.pass_("secret word")
assert pop.stat() == (3, 136), pop.stat()
assert pop.list()[1] == [b"1 62", b"2 36", b"3 38"]
assert pop.uidl()[1] == [b"1 7.1", b"2 7.2", b"3 7.3"]
_, lines, octets = pop.retr(1)
assert lines == [b"From: bob@example.org", b"Subject: one", b"", b".", b"..dots", b"text", b"last"], lines
assert sum(len(line) + 2 for line in lines) == 62
assert pop.top(1, 1)[1][-1] == b"."
pop.dele(3)
pop.quit()
