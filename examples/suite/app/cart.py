"""The cart: quantities by article, and the prices that the customer saw."""

from app import catalog, release

MOST_OF_ONE = 20


class CartError(Exception):
    """The cart can't be changed so."""


class Cart:
    """Lines in the order in which they were added."""

    def __init__(self):
        self.lines = {}
        self.seen_prices = {}

    def add(self, sku, quantity=1):
        """Puts more of an article into the cart. Raises CartError when there is not enough of it."""
        self.set(sku, self.lines.get(sku, 0) + quantity)

    def set(self, sku, quantity):
        """Sets a quantity; 0 takes the line out. Raises CartError for one that can't be."""
        product = catalog.find(sku)
        if quantity < 0:
            raise CartError(f"{product.name}: a quantity of {quantity} makes no sense")
        if quantity > MOST_OF_ONE:
            raise CartError(f"{product.name}: at most {MOST_OF_ONE} in one order")
        if product.stock is not None and quantity > product.stock:
            raise CartError(f"{product.name}: only {product.stock} left")
        if quantity == 0:
            self.lines.pop(sku, None)
            self.seen_prices.pop(sku, None)
            return
        self.lines[sku] = quantity
        self.seen_prices.setdefault(sku, product.price)

    def remove(self, sku):
        """Takes an article out. Raises CartError when it is not there."""
        if sku not in self.lines:
            raise CartError(f"{sku} is not in the cart")
        self.set(sku, 0)

    @property
    def count(self):
        """How many pieces, for the badge on the icon."""
        return sum(self.lines.values())

    @property
    def subtotal(self):
        """Value of the goods in cents."""
        return sum(catalog.find(sku).price * quantity for sku, quantity in self.lines.items())

    def price_changes(self):
        """(article number, price seen, price now) of the lines whose price changed since they were added."""
        now = {sku: catalog.find(sku).price for sku in self.lines}
        return [(sku, self.seen_prices[sku], price) for sku, price in now.items() if price != self.seen_prices[sku]]

    def take_over(self, guest):
        """The guest's cart when the guest logs in: merged since 1.9, and in its place before."""
        if not release.has("merge_guest_cart"):
            self.lines, self.seen_prices = dict(guest.lines), dict(guest.seen_prices)
            return
        for sku, quantity in guest.lines.items():
            self.set(sku, max(quantity, self.lines.get(sku, 0)))
