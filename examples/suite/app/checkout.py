"""From a cart to an order."""

from app import money
from app.coupons import Discounts

FREE_SHIPPING_FROM = 3900
SHIPPING = 490
TAX = {"DE": 19, "FR": 20, "CH": 8, "US-OR": 0}
POSTCODES = {"DE": 5, "FR": 5, "CH": 4, "US-OR": 5}


class CheckoutError(Exception):
    """The order can't be placed so; `field` is what the app marks red."""

    def __init__(self, field, message):
        super().__init__(f"{field}: {message}")
        self.field = field


class Checkout:
    """One order in the making."""

    def __init__(self, cart, region="DE"):
        if region not in TAX:
            raise CheckoutError("region", f"{region} is not served")
        self.cart = cart
        self.region = region
        self.discounts = Discounts()
        self.address = None

    @property
    def goods(self):
        """Value of the goods after coupons, in cents."""
        return self.discounts.reduce(self.cart.subtotal)

    @property
    def shipping(self):
        """Shipping in cents: free from a value of goods on, and for an empty cart."""
        return 0 if not self.cart.count or self.goods >= FREE_SHIPPING_FROM else SHIPPING

    @property
    def tax(self):
        """Tax on goods and shipping, in cents."""
        return money.percent(self.goods + self.shipping, TAX[self.region])

    @property
    def total(self):
        """What the customer pays, in cents."""
        return self.goods + self.shipping + self.tax

    def ship_to(self, name, street, postcode):
        """Sets the address. Raises CheckoutError naming the field that is wrong."""
        for field, value in (("name", name), ("street", street)):
            if not value.strip():
                raise CheckoutError(field, "is missing")
        if not (postcode.isdigit() and len(postcode) == POSTCODES[self.region]):
            raise CheckoutError("postcode", f"{postcode!r} is no postcode of {self.region}")
        self.address = (name.strip(), street.strip(), postcode)

    def pay(self, gateway, card, key):
        """Places the order and returns its confirmation. Raises CheckoutError when it can't be paid or shipped."""
        if not self.cart.count:
            raise CheckoutError("cart", "is empty")
        if self.address is None:
            raise CheckoutError("address", "is missing")
        accepted, reason = gateway.charge(card, self.total, key)
        if not accepted:
            raise CheckoutError("card", reason)
        lines = [f"{quantity} x {sku}" for sku, quantity in self.cart.lines.items()]
        return {"order": key, "paid": money.text(self.total), "lines": lines, "to": self.address[0]}
