"""The one error a user can mend."""


class UserError(Exception):
    """Something the user can mend: says what is wrong, where, and what to do. Ends a command with exit code 2."""
