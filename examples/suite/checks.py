"""What the test files of this suite share."""


def refused(error_type, call, *args, **kwargs):
    """The error that a call ended with. Raises AssertionError when the call went through."""
    try:
        call(*args, **kwargs)
    except error_type as error:
        return error
    raise AssertionError(f"{call.__qualname__} was not refused with {error_type.__name__}")
