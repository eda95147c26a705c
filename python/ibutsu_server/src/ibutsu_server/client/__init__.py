"""What runs on a user's machine: it reaches a server through the HTTP API only, never its database."""
