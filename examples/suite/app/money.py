"""Amounts are whole cents; only this module rounds."""


def percent(cents, rate):
    """`rate` percent of an amount, rounded half up to a cent."""
    return (cents * rate + 50) // 100


def text(cents):
    """An amount as the app shows it: 1234567 is "12,345.67"."""
    sign = "-" if cents < 0 else ""
    whole, rest = divmod(abs(cents), 100)
    return f"{sign}{whole:,}.{rest:02d}"


def split(cents, parts):
    """An amount in equal parts that add up to it; the first ones carry the odd cents."""
    if parts < 1:
        raise ValueError(f"parts: {parts} is less than 1")
    share, odd = divmod(cents, parts)
    return [share + 1] * odd + [share] * (parts - odd)
