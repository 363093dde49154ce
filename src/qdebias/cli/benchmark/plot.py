"""The ways of answering as bars."""

from matplotlib.figure import Figure

from qdebias.cli.benchmark.sharing import Report


def draw(report: Report) -> Figure:
    """Return a picture of the speed of each way, as a multiple of the authors' way."""
    figure = Figure(figsize=(7, 0.6 * len(report.ways) + 1.4), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(
        [f"{way.name}: {way.summary}" for way in report.ways], [way.speedup_over_authors for way in report.ways]
    )
    axes.bar_label(bars, [f"{way.speedup_over_authors:.2f}x, {way.seconds:.2f} s" for way in report.ways], padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("speed, as a multiple of the authors' way")
    axes.set_title(f"{report.shape}, {report.device}, {report.dtype}", fontsize="medium")
    axes.margins(x=0.25)
    return figure
