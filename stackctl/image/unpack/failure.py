"""The one way in which a layer is refused."""


class BadLayer(Exception):
    """The layer is malformed or hostile; the text says how."""
