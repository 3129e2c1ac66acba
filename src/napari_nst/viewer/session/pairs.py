"""Which patch gets which style, chosen by hand."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

from napari_nst.io.tables import KnownNames
from napari_nst.session.plan import SessionPlan

__all__ = ["PairsByHand"]


class PairsByHand:
    """The part of the widget that changes pairs.

    Attributes
    ----------
    edits : dict
        What was chosen by hand: patch to style, "" for none. It outlasts another judgement.
    """

    edits: dict[str, str]

    @abstractmethod
    def judged_plan(self) -> SessionPlan:
        """The plan; raises StyleTransferError where there is none yet."""

    @abstractmethod
    def check_idle(self) -> None:
        """Raise StyleTransferError when something is under way."""

    @abstractmethod
    def take_plan(self, plan: SessionPlan) -> None:
        """Show a plan with other pairs."""

    @abstractmethod
    def rejudge(self) -> None:
        """Split and pair again, with what is entered now."""

    def set_pair(self, patch: str, style: str | None) -> None:
        """Choose the style of a patch by hand.

        Parameters
        ----------
        patch, style : str
            Names as in the table, with or without extension; no style: the patch is not treated.

        Raises
        ------
        StyleTransferError
            There are no such patches, or they are in use.
        """
        self.set_pairs({patch: style or ""})

    def set_pairs(self, changes: Mapping[str, str]) -> None:
        """Choose the styles of several patches by hand, as `set_pair` does: patch to style, "" for none."""
        from napari_nst.session.planning import with_pairs

        plan = self.judged_plan()
        self.check_idle()
        changed = with_pairs(plan, changes)
        known = KnownNames([planned.patch.name for planned in plan.patches])
        self.edits |= {known.find(p) or p: (known.find(s) or s) if s else "" for p, s in changes.items()}
        self.take_plan(changed)

    def load_pairs(self, path: str | Path) -> None:
        """Take the whole pairing from a table, as `save_pairs` writes it; what it does not name is not treated.

        Raises
        ------
        StyleTransferError
            The table cannot be used, or patches are in use.
        """
        from napari_nst.session.pairing import read_pairs

        names = [planned.patch.name for planned in self.judged_plan().patches]
        frame = read_pairs(path, names)
        self.set_pairs(dict.fromkeys(names, "") | dict(zip(frame["patch"], frame["style"], strict=True)))

    def save_pairs(self, path: str | Path) -> Path:
        """Write the table with its pairs; gives the path, with a number where the name is taken.

        Raises
        ------
        StyleTransferError
            There is nothing to write yet, or it cannot be written.
        """
        from napari_nst.session.pairing import write_pairs

        return write_pairs(path, self.judged_plan().table)

    def find_pairs(self) -> None:
        """Forget the pairs that were chosen by hand, and pair the patches anew; ``judged`` tells the end.

        Raises
        ------
        StyleTransferError
            There are no patches yet, or they are in use.
        """
        self.judged_plan()
        self.check_idle()
        self.edits = {}
        self.rejudge()
