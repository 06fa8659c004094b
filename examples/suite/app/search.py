"""Search over the catalogue: words, prefixes and, since 1.9, one typo."""

from app import release
from app.catalog import PRODUCTS

RECENT = 5


def one_edit_apart(a, b):
    """Whether one insertion, deletion, replacement or swap of neighbours makes `a` of `b`."""
    if a == b or abs(len(a) - len(b)) > 1:
        return False
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    rest_a, rest_b = a[start:], b[start:]
    if len(a) == len(b):
        return rest_a[1:] == rest_b[1:] or (rest_a[:2] == rest_b[:2][::-1] and rest_a[2:] == rest_b[2:])
    return rest_a[1:] == rest_b or rest_a == rest_b[1:]


def score(word, product):
    """How well a word fits: 3 the whole word, 2 its beginning, 1 one typo away, 0 not at all."""
    if word in product.words:
        return 3
    if any(other.startswith(word) for other in product.words):
        return 2
    if release.has("typo_tolerance") and len(word) > 3 and any(one_edit_apart(word, other) for other in product.words):
        return 1
    return 0


def search(text, products=PRODUCTS, category=None, most=None):
    """Products that fit every word, best first, then by price; `category` and `most` (cents) filter."""
    words = text.lower().split()
    found = []
    for product in products:
        scores = [score(word, product) for word in words]
        if not scores or 0 in scores:
            continue
        if category not in (None, product.category) or (most is not None and product.price > most):
            continue
        found.append((-sum(scores), product.price, product.sku, product))
    return [entry[3] for entry in sorted(found, key=lambda entry: entry[:3])]


class Recent:
    """The last searches, newest first, each once."""

    def __init__(self):
        self.texts = []

    def remember(self, text):
        """Puts a search on top; an empty one is none."""
        text = " ".join(text.split())
        if not text:
            return
        self.texts = [text, *(old for old in self.texts if old.lower() != text.lower())][:RECENT]
