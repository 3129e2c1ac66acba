"""The table of patches: names, sorting with unknown values last, choosing a style, and how it looks in words."""

import math

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox

from napari_nst.viewer.session.table import COLUMNS, STYLE, PatchModel, PatchTable, short_names

NUMBER = {column.key: number for number, column in enumerate(COLUMNS)}
NAMES = [f"CROP_{n}_x0y0_eye_{n % 2}_confocal.tif" for n in range(1, 6)]


def row(n, **values):
    entry = {
        "patch": NAMES[n - 1],
        "image": f"eye_{n % 2}_confocal.tif",
        "crop_id": n,
        "quality": "poor",
        "score": float(n),
        "style": "",
        "status": "open",
        "ring_before": 1.25,
        "cones_before": 120.0,
        "spacing_before": math.nan,
        "aiq_before": 20.0,
        "distance": math.nan,
        "reason": "because",
    }
    return entry | values


@pytest.fixture
def table(qtbot):
    model = PatchModel()
    table = PatchTable(model, lambda patch: [("(not enhanced)", ""), *((f"to {n}", n) for n in NAMES if n != patch)])
    qtbot.addWidget(table)
    table.resize(900, 300)
    rows = [row(n) for n in range(1, 6)]
    rows[1]["score"], rows[3]["score"] = math.nan, 10.0
    model.set_rows(rows, {NAMES[0]: np.full((20, 30), 7, np.uint8)})
    table.show()
    return table


def shown(table, key):
    return [table.sorted.index(r, NUMBER[key]).data() for r in range(table.sorted.rowCount())]


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (
            [
                "Subject34_Session274_OS_(9,0)_1.5x1.5_4495_Confocal_extract_reg_avg.tif",
                "Subject34_Session274_OS_(10,0)_1.5x1.5_4496_Confocal_extract_reg_avg.tif",
            ],
            ["(9,0)_4495", "(10,0)_4496"],
        ),
        (["a_1_b_c.tif", "a_2_c.tif"], ["1_b", "2"]),
        (["one.tif", "one_more.tif"], ["one", "more"]),
        (["single_name.tiff"], ["single_name"]),
        ([], []),
    ],
)
def test_short_names_keep_what_differs(names, short):
    assert short_names(names) == dict(zip(names, short, strict=True))


@pytest.mark.parametrize("order", [Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder])
def test_sorting_by_number_and_unknown_last(table, order):
    table.sortByColumn(NUMBER["score"], order)
    falling = order == Qt.SortOrder.DescendingOrder
    assert shown(table, "score") == (
        ["10.0", "5.00", "3.00", "1.00"] if falling else ["1.00", "3.00", "5.00", "10.0"]
    ) + ["–"]


def test_patches_are_sorted_by_number_not_by_text(table):
    table.patches.set_rows([row(n) | {"crop_id": c} for n, c in ((1, 10), (2, 9), (3, 100))], {})
    assert [text.split()[0] for text in shown(table, "patch")] == ["9", "10", "100"]


def test_what_a_cell_says(table):
    model = table.patches
    model.update_row(NAMES[0], {"style": NAMES[2], "status": "failed", "error": "no memory", "quality": "good"})

    def cell(key, role=Qt.ItemDataRole.DisplayRole):
        return model.index(0, NUMBER[key]).data(role)

    assert cell("patch") == "1 · 1"
    assert cell("patch", Qt.ItemDataRole.ToolTipRole) == NAMES[0]
    assert (cell("patch", Qt.ItemDataRole.DecorationRole).width(), cell("ring_before")) == (30, "1.2")
    assert (cell("style"), cell("style", Qt.ItemDataRole.ToolTipRole)) == ("3 · 1", NAMES[2])
    assert (cell("quality"), cell("status"), cell("distance")) == ("good", "failed", "–")
    assert "no memory" in cell("status", Qt.ItemDataRole.ToolTipRole)
    assert model.index(1, NUMBER["status"]).data() == "keep"  # no style: nothing will be done
    assert all(model.headerData(n, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole) for n in range(len(COLUMNS)))


def test_columns_of_results_appear_with_the_first_result(table):
    after = [n for n, column in enumerate(COLUMNS) if column.after]
    assert all(table.isColumnHidden(n) for n in after)
    table.patches.update_row(
        NAMES[1], {"status": "enhanced", "structure": 0.8, "new": 3, "lost": 1, "cones_after": 90.0}
    )
    assert not any(table.isColumnHidden(n) for n in after)
    assert shown(table, "structure")[1] == "0.800"
    assert shown(table, "new")[1] == "3"


def test_a_verdict_says_its_reasons_and_calls_where_it_is_bad(table):
    model = table.patches
    role = Qt.ItemDataRole
    for number, level in enumerate(("distrust", "trusted")):
        model.update_row(NAMES[number], {"verdict": level, "verdict_text": "24 look there", "unsupported": 24})
    index = [model.index(number, NUMBER["verdict"]) for number in range(3)]
    assert [i.data() for i in index] == ["distrust", "trusted", ""]  # the third: a session of an earlier version
    assert index[0].data(role.ToolTipRole) == "24 look there"
    assert [i.data(role.ForegroundRole) is not None for i in index] == [True, False, False]
    assert [model.index(n, NUMBER["unsupported"]).data() for n in (0, 2)] == ["24", "–"]


def test_a_style_is_chosen_from_a_list(qtbot, table):
    chosen = []
    table.patches.style_chosen.connect(lambda *pair: chosen.append(pair))
    table.sortByColumn(NUMBER["score"], Qt.SortOrder.DescendingOrder)
    index = table.sorted.index(0, STYLE)  # patch 4, at the top now
    table.edit(index)
    combo = table.findChild(QComboBox)
    assert [combo.itemData(n) for n in range(combo.count())] == ["", *(n for n in NAMES if n != NAMES[3])]
    assert combo.currentData() == ""
    combo.setCurrentIndex(2)
    combo.activated.emit(2)
    assert chosen == [(NAMES[3], NAMES[1])]
    table.patches.locked = True
    assert not table.sorted.flags(index) & Qt.ItemFlag.ItemIsEditable
    assert not table.patches.setData(table.patches.index(0, STYLE), NAMES[1])


def test_the_keyboard_shows_and_undoes(qtbot, table):
    wanted, undone = [], []
    table.wanted.connect(wanted.append)
    table.undone.connect(undone.append)
    table.select(NAMES[2])
    qtbot.keyClick(table, Qt.Key.Key_Return)
    assert wanted == [NAMES[2]]
    qtbot.keyClick(table, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    qtbot.keyClick(table, Qt.Key.Key_Delete)
    assert undone == [[NAMES[2], NAMES[3]]]
    table.patches.locked = True
    qtbot.keyClick(table, Qt.Key.Key_Delete)
    assert len(undone) == 1
