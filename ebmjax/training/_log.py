"""What is said of updates: rows for a tracker, and the text of the progress bar."""

from ebmjax.training.diagnosis import known_mean


def logged(log, on_chunk):
    """``on_chunk`` that also logs a row an update."""

    def called(state, metrics):
        length = len(metrics["loss"])
        for i in range(length):
            step = int(state.step) - length + i + 1
            log({"step": step, **{name: float(x[i]) for name, x in metrics.items()}})
        if on_chunk is not None:
            on_chunk(state, metrics)

    return called


def progress_text(metrics) -> str:
    """Means over a chunk of updates."""
    means = {k: known_mean(v) for k, v in metrics.items()}
    text = f"loss {means['loss']:+.3g}  |grad| {means['grad_norm']:.2g}"
    if "energy_model" in means:
        text += (
            f"  E data {means['energy_data']:+.3g}  E model "
            f"{means['energy_model']:+.3g}  acceptance {means['acceptance_rate']:.2f}"
        )
    return text
