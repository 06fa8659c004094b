"""The customer's own data."""

LANGUAGES = {"en": "Orders", "de": "Bestellungen", "fr": "Commandes"}
PICTURE_BYTES = 512 * 1024


class ProfileError(Exception):
    """The change was refused."""


class Profile:
    """One customer."""

    def __init__(self, name, email):
        self.name = name
        self.email = email
        self.pending_email = None
        self.picture = None
        self.language = "en"
        self.addresses = []
        self.open_orders = 0
        self.deleted = False

    def rename(self, name):
        """Sets the name, without the blanks around it. Raises ProfileError for an empty or over-long one."""
        name = " ".join(name.split())
        if not 1 <= len(name) <= 60:
            raise ProfileError(f"a name has 1 to 60 characters, not {len(name)}")
        self.name = name

    def ask_email(self, email):
        """A new address counts only when it is confirmed."""
        if email == self.email:
            raise ProfileError("that is the address already")
        self.pending_email = email

    def confirm_email(self, email):
        """Confirms the address that was asked for last. Raises ProfileError for another one."""
        if email != self.pending_email:
            raise ProfileError("that link is of an older request")
        self.email, self.pending_email = email, None

    def upload_picture(self, server, data):
        """Stores a picture with the media server. Raises ProfileError for one that is too large."""
        if len(data) > PICTURE_BYTES:
            raise ProfileError(f"a picture has at most {PICTURE_BYTES} bytes, not {len(data)}")
        self.picture = server.put(f"{self.email}.png", data)

    def add_address(self, address, default=False):
        """Remembers an address; the first one is the default."""
        if address in self.addresses:
            self.addresses.remove(address)
        self.addresses.insert(0 if default or not self.addresses else len(self.addresses), address)

    def heading(self):
        """The heading of the order list, in the customer's language."""
        return LANGUAGES.get(self.language, LANGUAGES["en"])

    def delete(self):
        """Deletes the account and what it knew. Raises ProfileError while an order is open."""
        if self.open_orders:
            raise ProfileError(f"{self.open_orders} orders are on their way")
        self.name, self.email, self.picture, self.addresses, self.deleted = "", "", None, [], True
