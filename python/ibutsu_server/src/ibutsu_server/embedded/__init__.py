"""PostgreSQL and Redis from wheels, and `ibutsu up`, which runs the whole system on one machine."""
