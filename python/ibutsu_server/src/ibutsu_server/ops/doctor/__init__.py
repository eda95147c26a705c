"""`ibutsu doctor`: what is asked of the servers (`broker`, `database`, `workers`, `web`), and what to think of it.

Asking and judging are apart: modules whose name ends in `_rules` take what was observed and return findings.
"""
