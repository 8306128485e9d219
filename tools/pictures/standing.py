"""Where the gateway stands: between applications and a fleet of Ollama pods."""

from tools.pictures.canvas import Area, Canvas

_CALLERS = (("Your application", "with OpenAI's SDK"), ("Chat interface",), ("Job in the cluster",))
_PODS = (("ollama-0", "llama3 is loaded"), ("ollama-1", "llama3, codellama"), ("ollama-2", "loads llama3"))
_BESIDE = (
    ("Kubernetes API", "which pods there are"),
    ("config.yml", "or a ConfigMap"),
    ("Telemetry", "Prometheus, OTLP"),
    ("Audit", "SQLite, PostgreSQL"),
    ("Redis", "shared limits"),
)


def drawing() -> str:
    """The picture."""
    canvas = Canvas(880, 430, "Applications call the gateway; the gateway calls one of several Ollama pods for each")
    gateway = Area(340, 60, 200, 208)
    canvas.group(Area(16, 16, 196, 270), "Who calls")
    canvas.group(Area(668, 16, 196, 270), "Ollama")
    for number, lines in enumerate(_CALLERS):
        box = Area(32, 50 + 76 * number, 164, 62)
        canvas.box(box, lines)
        canvas.arrow((box.right, box.middle[1]), (gateway.x - 3, box.middle[1] + 7))
    canvas.box(
        gateway,
        ("AI Gateway Ollama", "who are you?", "is the model served?", "within your limits?", "which pod, and when?"),
        "own",
    )
    for number, lines in enumerate(_PODS):
        box = Area(684, 50 + 76 * number, 164, 62)
        canvas.box(box, lines, "good" if number < 2 else "plain")
        canvas.arrow((gateway.right, box.middle[1] + 7), (box.x - 3, box.middle[1]))
    canvas.words(276, 42, "OpenAI's API,", "soft", "middle")
    canvas.words(276, 60, "one address", "soft", "middle")
    canvas.words(604, 42, "one call a slot,", "soft", "middle")
    canvas.words(604, 60, "others wait", "soft", "middle")
    _beside(canvas, gateway)
    return canvas.svg()


def _beside(canvas: Canvas, gateway: Area) -> None:
    """What it reads, and where it writes."""
    canvas.arrow((gateway.middle[0], gateway.bottom + 2), (gateway.middle[0], 336), is_double=True)
    canvas.words(gateway.middle[0] + 12, 308, "what it reads and writes; only the config must be there", "soft")
    for number, lines in enumerate(_BESIDE):
        canvas.box(Area(16 + 172 * number, 340, 160, 66), lines)
