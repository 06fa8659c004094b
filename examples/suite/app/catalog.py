"""What the shop sells."""


class Product:
    """One article. `stock` is None for what never runs out."""

    __slots__ = ("brand", "category", "name", "price", "sku", "stock", "words")

    def __init__(self, sku, name, category, brand, price, stock=None):
        self.sku = sku
        self.name = name
        self.category = category
        self.brand = brand
        self.price = price
        self.stock = stock
        self.words = f"{name} {brand} {category}".lower().split()

    @property
    def badge(self):
        """The small label on the picture, or None."""
        if self.stock == 0:
            return "sold out"
        if self.stock is not None and self.stock <= 3:
            return f"only {self.stock} left"
        return None


PRODUCTS = (
    Product("TEA-01", "Green tea", "tea", "Meadow", 450),
    Product("TEA-02", "Black tea", "tea", "Harbour", 395, stock=2),
    Product("TEA-03", "Mint tea", "tea", "Meadow", 420, stock=0),
    Product("COF-01", "House coffee", "coffee", "Harbour", 890),
    Product("COF-02", "Espresso roast", "coffee", "Nordlys", 1150, stock=12),
    Product("COF-03", "Decaf coffee", "coffee", "Harbour", 940),
    Product("MUG-01", "Stone mug", "kitchen", "Kiln", 1650, stock=5),
    Product("MUG-02", "Glass mug", "kitchen", "Kiln", 1290),
    Product("POT-01", "Tea pot", "kitchen", "Kiln", 3990, stock=3),
    Product("GRD-01", "Hand grinder", "kitchen", "Nordlys", 6900, stock=1),
    Product("FIL-01", "Paper filters", "supplies", "Nordlys", 310),
    Product("BIS-01", "Oat biscuits", "food", "Meadow", 275),
)


def find(sku):
    """The product of an article number. Raises KeyError for an unknown one."""
    for product in PRODUCTS:
        if product.sku == sku:
            return product
    raise KeyError(sku)


def categories():
    """Names of the categories and how many products each has, by name."""
    counts = {}
    for product in PRODUCTS:
        counts[product.category] = counts.get(product.category, 0) + 1
    return dict(sorted(counts.items()))


def listing(category=None, sort="name", descending=False):
    """The products of a category, or all, sorted by name or price; equals stand in article number order."""
    if sort not in ("name", "price"):
        raise ValueError(f"sort: {sort!r} is neither 'name' nor 'price'")
    chosen = sorted((p for p in PRODUCTS if category in (None, p.category)), key=lambda p: p.sku)
    return sorted(chosen, key=lambda p: getattr(p, sort), reverse=descending)


def page(products, number, size):
    """One page of a listing, numbered from 1, and whether more follow."""
    start = (number - 1) * size
    return products[start : start + size], start + size < len(products)
