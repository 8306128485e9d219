"""How far two colours stand apart, as WCAG 2.2 counts it."""

LEAST = 4.5  # WCAG 2.2, 1.4.3, for text


def contrast(one: str, other: str) -> float:
    """Of two colours such as `#1d2430`; 1 is the same, 21 black on white."""
    lighter, darker = sorted(map(_luminance, (one, other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    """Of `#rrggbb`, relative to white."""
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return sum(part * share for part, share in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
