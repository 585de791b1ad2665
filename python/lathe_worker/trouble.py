class CannotLoad(Exception):
    """A model that cannot be loaded; the text is a sentence for the person who deploys it."""
