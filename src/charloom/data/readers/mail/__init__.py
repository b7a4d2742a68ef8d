"""Mailboxes and letters in; what their senders wrote, without quotes and signatures, out."""
