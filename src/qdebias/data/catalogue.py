"""The datasets that are known by name."""

from collections.abc import Mapping

from qdebias.data.generated import AGIQA1K, AGIQA3K, CGIQA6K, SCID, SIQAD
from qdebias.data.natural import BIQ2021, FLIVE, KONIQ10K, LIVEC, SPAQ
from qdebias.data.synthetic import CSIQ, KADID10K, LIVE, PIPAL, TID2013
from qdebias.data.table import Entry
from qdebias.errors import SettingError

CATALOGUE: Mapping[str, Entry] = {
    entry.name: entry
    for entry in (
        LIVEC,
        KONIQ10K,
        AGIQA3K,
        KADID10K,
        SPAQ,
        SIQAD,
        BIQ2021,
        PIPAL,
        TID2013,
        CSIQ,
        LIVE,
        FLIVE,
        AGIQA1K,
        CGIQA6K,
        SCID,
    )
}
"""By name; the six of the paper first."""


def entry(name: str) -> Entry:
    """Return the dataset of a name; upper case, "-" and "_" do not matter, so "KonIQ-10k" is koniq10k.

    Raises:
        SettingError: There is none of that name.
    """
    found = CATALOGUE.get(name.lower().replace("-", "").replace("_", ""))
    if found is None:
        raise SettingError(
            f"no dataset is called {name!r}; known are {', '.join(CATALOGUE)}, or give a label file "
            f"(.csv, .json, ... with columns img_path and gt_score)"
        )
    return found
