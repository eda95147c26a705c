"""The blueprint that every resource adds its views to."""

from __future__ import annotations

import flask

api = flask.Blueprint("api", __name__)
