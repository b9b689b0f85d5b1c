"""Tables whose rows are sorted, filtered and cut by the database: the browser has one page of them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments

from orchestrator.store.listing import Page

PAGE_ROWS = 25
CELL = r"""
<q-td :props="props" :class="props.value && props.value.tone ? props.value.tone : ''">
  <template v-if="props.value && typeof props.value === 'object'">
    <a v-if="props.value.href" :href="props.value.href">{{ props.value.text }}</a>
    <button v-else-if="props.value.act" class="cell-act" :aria-label="props.value.title"
      @click.stop="$parent.$emit('act', props.row.id)">{{ props.value.act }}</button>
    <span v-else-if="props.value.share !== undefined" class="share">
      <i><b :style="{width: 100 * props.value.share + '%'}"></b></i>{{ props.value.text }}</span>
    <span v-else-if="props.value.pill" class="pill" :class="props.value.pill">{{ props.value.text }}</span>
 <span v-else-if="props.value.whole" class="whole">{{ props.value.text }}</span>
    <span v-else class="cut" :title="props.value.title || props.value.text">{{ props.value.text }}</span>
  </template>
  <template v-else>{{ props.value }}</template>
</q-td>
"""

Cell = str | int | Mapping[str, Any]
Row = dict[str, Any]
Load = Callable[[Page], Awaitable[tuple[int, Sequence[Row]]]]
"""A page of rows, and how many there are in all. A row has an `id` and a cell by each column's name."""


@dataclass(frozen=True)
class Column:
    """A column: figures are set to the right; one that is not `narrow` is left out on phones."""

    name: str
    label: str
    figures: bool = False
    sortable: bool = False
    narrow: bool = True
    title: str = ""

    def options(self) -> dict[str, Any]:
        """As Quasar has it."""
        shown = "" if self.narrow else "gt-xs"
        return {
            "name": self.name,
            "label": self.label,
            "field": self.name,
            "align": "right" if self.figures else "left",
            "sortable": self.sortable,
            "classes": shown,
            "headerClasses": shown,
        }


def link(text: str, href: str) -> Cell:
    """A cell that leads somewhere."""
    return {"text": text, "href": href}


def pill(text: str, tone: str) -> Cell:
    """A cell with a state."""
    return {"text": text, "pill": tone}


def toned(text: str, tone: str) -> Cell:
    """A cell in a colour; its text says the same."""
    return {"text": text, "tone": tone}


def long(text: str, title: str = "") -> Cell:
    """A cell that is cut where it is too long; the whole is in its tooltip."""
    return {"text": text, "title": title or text}


def whole(text: str) -> Cell:
    """A cell with all of a longer text, on as many lines as it takes."""
    return {"text": text, "whole": True}


def share(part: float, text: str) -> Cell:
    """A cell with a bar."""
    return {"share": max(0.0, min(1.0, part)), "text": text}


def act(label: str, title: str) -> Cell:
    """A cell with a button; what it does is `Listing.on_act`."""
    return {"act": label, "title": title}


class Listing:
    """A table of the page that is being built; `refresh` reads the page of rows that is shown again.

    Args:
        columns: from left to right.
        load: reads a page of rows.
        order: by what it is sorted first; None: the rows have their own order.
        rows: of a page; 0: all rows are one page.
        on_pick: called with a row's id when it is clicked.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        load: Load,
        *,
        order: str = "",
        descending: bool = True,
        rows: int = PAGE_ROWS,
        on_pick: Callable[[str], Awaitable[None]] | None = None,
        on_act: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._load = load
        self.total = 0
        pagination = {
            "page": 1,
            "rowsPerPage": rows,
            "rowsNumber": 0,
            "sortBy": order or None,
            "descending": descending,
        }
        self.table = ui.table(
            columns=[each.options() for each in columns], rows=[], row_key="id", pagination=pagination
        )
        self.table.props('flat dense binary-state-sort :rows-per-page-options="[25, 50, 100]"')
        if not rows:
            self.table.props("hide-pagination")
        self.table.add_slot("body-cell", CELL)
        self.table.on("request", self._asked, ["pagination"])
        self.table.on_pagination_change(self._count)
        if on_pick is not None:
            self.table.on("row-click", lambda event: on_pick(event.args[1]["id"]), [[], ["id"], None])
            self.table.style("cursor: pointer")
        if on_act is not None:
            self.table.on("act", lambda event: on_act(event.args))

    async def refresh(self) -> int:
        """Read and show the rows again; how many there are in all."""
        asked = self.table.pagination
        size = asked["rowsPerPage"]
        first = (asked["page"] - 1) * size
        page = Page(asked["sortBy"] or "", asked["descending"], size or None, first)
        total, rows = await self._load(page)
        if first >= total and first:
            asked["page"] = 1
            return await self.refresh()
        self.total = total
        self._count()
        if self.table.rows != rows:
            self.table.rows = [*rows]
        return total

    async def first(self) -> None:
        """Go to the first page: what is wanted has changed."""
        self.table.pagination = {**self.table.pagination, "page": 1}
        await self.refresh()

    def _count(self) -> None:
        """Tell the browser how many rows there are; it may have told us what it knew before."""
        if self.table.pagination["rowsNumber"] != self.total:
            self.table.pagination = {**self.table.pagination, "rowsNumber": self.total}

    async def _asked(self, event: GenericEventArguments) -> None:
        self.table.pagination = event.args["pagination"]
        await self.refresh()
