"""Numbers as the page writes them."""

from datetime import timedelta

MINUS = "\N{MINUS SIGN}"


def score(value: float | None) -> str:
    """A score in four digits."""
    return "-" if value is None else f"{value:.4f}".replace("-", MINUS)


def change(value: float) -> str:
    """A difference, with its sign."""
    return f"{value:+.4f}".replace("-", MINUS)


def size(count: float) -> str:
    """Bytes."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def duration(time: timedelta) -> str:
    """The two largest units of a time."""
    minutes, seconds = divmod(round(time.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


FILTERS = {"score": score, "change": change, "size": size, "duration": duration}
