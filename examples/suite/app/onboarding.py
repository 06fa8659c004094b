"""The first minutes of a new customer."""

SCREENS = ("welcome", "browse", "deliver", "account")
COMMON = ("password1", "letmein123", "qwertyuiop")


class SignUpError(Exception):
    """No account was made; `field` is what the app marks red."""

    def __init__(self, field, message):
        super().__init__(f"{field}: {message}")
        self.field = field


class Tour:
    """The screens that explain the app, once."""

    def __init__(self, position=0):
        self.position = position

    @property
    def screen(self):
        """Name of the screen that shows, or None when the tour is over."""
        return SCREENS[self.position] if self.position < len(SCREENS) else None

    def forward(self):
        """Swipes to the left."""
        self.position = min(self.position + 1, len(SCREENS))

    def back(self):
        """Swipes to the right."""
        self.position = max(self.position - 1, 0)

    def skip(self):
        """Goes to the account screen, which can't be skipped."""
        self.position = len(SCREENS) - 1


def password_problems(password, email=""):
    """Everything that is wrong with a password, in the order in which the app lists it."""
    problems = []
    if len(password) < 10:
        problems.append("shorter than 10 characters")
    if password.lower() in COMMON:
        problems.append("on the list of common passwords")
    if not any(c.isdigit() for c in password):
        problems.append("no digit")
    if email and email.split("@")[0].lower() in password.lower():
        problems.append("holds the email name")
    return problems


class Accounts:
    """Accounts by normalised email."""

    def __init__(self):
        self.verified = {}
        self.codes = {}

    def sign_up(self, email, password, terms):
        """Makes an unverified account and returns its code. Raises SignUpError naming the field."""
        email = email.strip().lower()
        name, _, domain = email.partition("@")
        if not name or "." not in domain:
            raise SignUpError("email", f"{email!r} is no address")
        if email in self.verified:
            raise SignUpError("email", "there is an account already")
        problems = password_problems(password, email)
        if problems:
            raise SignUpError("password", "; ".join(problems))
        if not terms:
            raise SignUpError("terms", "must be accepted")
        self.verified[email] = False
        self.codes[email] = f"{sum(email.encode()) * 7919 % 1_000_000:06d}"
        return self.codes[email]

    def verify(self, email, code):
        """Whether the code was right; it works once."""
        email = email.strip().lower()
        if self.codes.get(email) != code:
            return False
        del self.codes[email]
        self.verified[email] = True
        return True


def resume(link):
    """Where a link that was opened before the sign-up leads afterwards: a path inside the app, else the start."""
    prefix = "shop://"
    path = link[len(prefix) :] if link.startswith(prefix) else ""
    return f"/{path}" if path and ".." not in path else "/"
