"""Chats as messengers export them in; who said what, a line or more each, out."""
