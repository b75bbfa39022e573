"use strict";
/* A grid of which only what is in view, and a little more, is in the document, whatever the number of photos. */

const GAP = 12, CAPTION = 30, HEADING = 52, BEYOND = 500; // [CSS pixels]
const KEYS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End"];

class Grid {
  /** `fill(cell, index)` writes a photo into a cell; `chosen(index)` is told of the active photo, null if none. */
  constructor(scroller, canvas, fill, chosen) {
    Object.assign(this, { scroller, canvas, fill, chosen });
    this.order = [];
    this.segments = [];
    this.cells = new Map(); // position -> cell
    this.headings = new Map(); // segment -> heading
    this.spare = [];
    this.active = -1; // a position
    this.size = 190;
    this.flying = false; // faster than pictures could be looked at: they are left out until it is over
    this.top = 0;
    scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    new ResizeObserver(() => this.resize()).observe(scroller);
    canvas.addEventListener("click", event => {
      const cell = event.target.closest(".cell");
      if (cell) this.activate(cell.position);
    });
  }

  /** Show other photos, or the same in another order; the active photo stays active where it is still shown. */
  show(order, segments) {
    const index = this.order[this.active];
    Object.assign(this, { order, segments });
    this.headings.forEach(heading => heading.remove());
    this.headings.clear();
    const at = index === undefined ? -1 : order.indexOf(index);
    this.active = at;
    if (index !== undefined && at < 0) this.chosen(null);
    this.measure();
    this.refresh();
  }

  /** Lay out anew for another width or size; what was looked at stays where it was on the screen. */
  resize(size = this.size) {
    const anchor = this.anchor();
    this.size = size;
    this.measure();
    if (!anchor) return;
    this.scroller.scrollTop = this.place(anchor.position).y - anchor.offset;
    if (anchor.position === this.active) this.reveal();
    this.top = this.scroller.scrollTop;
    this.draw();
  }

  /** The active photo, if it is in view, else the first that is, and how far below the upper edge it is. */
  anchor() {
    const { scrollTop } = this.scroller;
    let first = null;
    for (const position of this.cells.keys()) {
      const offset = this.place(position).y - scrollTop;
      if (position === this.active && offset > -this.cellHeight && offset < this.height) return { position, offset };
      if (offset >= 0 && !(first?.position < position)) first = { position, offset };
    }
    return first;
  }

  measure() {
    const style = getComputedStyle(this.scroller);
    const left = parseFloat(style.paddingLeft), width = this.scroller.clientWidth - left - parseFloat(style.paddingRight);
    this.height = this.scroller.clientHeight;
    this.columns = Math.max(2, Math.floor((width + GAP) / (this.size + GAP)));
    this.cellWidth = (width - GAP * (this.columns - 1)) / this.columns;
    this.cellHeight = Math.round(this.cellWidth * 2 / 3) + CAPTION;
    let top = 0;
    for (const segment of this.segments) {
      segment.top = top;
      segment.body = top + (segment.title ? HEADING : 4);
      top = segment.body + Math.ceil(segment.count / this.columns) * (this.cellHeight + GAP);
    }
    this.canvas.style.height = `${top}px`;
    this.canvas.style.setProperty("--cell-width", `${this.cellWidth}px`);
    this.canvas.style.setProperty("--cell-height", `${this.cellHeight}px`);
    this.draw(true);
  }

  scrolled() {
    const { scrollTop, clientHeight } = this.scroller, far = Math.abs(scrollTop - this.top) > clientHeight;
    this.top = scrollTop;
    if (far || this.flying) {
      clearTimeout(this.landing);
      this.landing = setTimeout(() => {
        this.flying = false;
        this.refresh();
      }, 80);
    }
    this.flying ||= far;
    this.draw();
  }

  /** The last segment that begins at or above a height. */
  segmentAt(height, property = "top") {
    let low = 0, high = this.segments.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.segments[middle][property] <= height) low = middle; else high = middle - 1;
    }
    return low;
  }

  place(position) {
    const segment = this.segments[this.segmentAt(position, "start")], within = position - segment.start;
    return { x: within % this.columns * (this.cellWidth + GAP),
      y: segment.body + Math.floor(within / this.columns) * (this.cellHeight + GAP) };
  }

  draw(moved = false) {
    const { segments, columns, cells } = this;
    const from = this.scroller.scrollTop - BEYOND, to = this.scroller.scrollTop + this.scroller.clientHeight + BEYOND;
    const wanted = [], seen = new Set();
    for (let s = this.segmentAt(from); segments.length && s < segments.length && segments[s].top < to; s++) {
      const { body, start, count } = segments[s], row = this.cellHeight + GAP;
      const first = Math.max(0, Math.floor((from - body) / row)) * columns;
      const last = Math.min(count, Math.ceil((to - body) / row) * columns);
      for (let within = first; within < last; within++) wanted.push(start + within);
      if (segments[s].title) seen.add(s);
    }
    const keep = new Set(wanted);
    for (const [position, cell] of cells) {
      if (!keep.has(position)) { cells.delete(position); this.spare.push(cell); }
    }
    for (const position of wanted) {
      let cell = cells.get(position);
      const fresh = !cell;
      if (fresh) { cell = this.spare.pop() ?? this.makeCell(); cells.set(position, cell); }
      if (fresh || moved) {
        const { x, y } = this.place(position);
        cell.style.transform = `translate(${x}px, ${y}px)`;
      }
      if (fresh) this.write(cell, position);
    }
    for (const cell of this.spare.splice(0)) cell.remove();
    for (const [s, heading] of this.headings) if (!seen.has(s)) { heading.remove(); this.headings.delete(s); }
    for (const s of seen) this.drawHeading(s);
  }

  drawHeading(s) {
    let heading = this.headings.get(s);
    const { title, note, group, top } = this.segments[s];
    if (!heading) {
      heading = document.createElement("div");
      heading.className = "heading";
      heading.setAttribute("role", "presentation");
      heading.append(document.createElement("b"), document.createElement("span"));
      if (group !== undefined) heading.dataset.group = group;
      this.headings.set(s, heading);
      this.canvas.append(heading);
    }
    heading.firstChild.textContent = title;
    heading.lastChild.textContent = note;
    heading.style.transform = `translateY(${top}px)`;
  }

  makeCell() {
    const cell = document.createElement("div");
    cell.className = "cell";
    cell.setAttribute("role", "option");
    cell.innerHTML = '<div class="frame"></div><p class="badges" aria-hidden="true"></p><div class="caption"><span class="name"></span> '
      + '<span class="stars" aria-hidden="true"></span> ' + '<b class="score"></b></div> <span class="unseen"></span>';
    this.canvas.append(cell);
    return cell;
  }

  write(cell, position) {
    cell.position = position;
    cell.id = `photo-${position}`;
    cell.setAttribute("aria-posinset", position + 1);
    cell.setAttribute("aria-setsize", this.order.length);
    cell.setAttribute("aria-selected", position === this.active);
    this.fill(cell, this.order[position]);
    if (!cell.isConnected) this.canvas.append(cell);
  }

  /** Write all cells in view again. */
  refresh() {
    for (const [position, cell] of this.cells) this.write(cell, position);
    const id = this.cells.has(this.active) ? `photo-${this.active}` : null;
    if (id) this.scroller.setAttribute("aria-activedescendant", id);
    else this.scroller.removeAttribute("aria-activedescendant");
  }

  activate(position) {
    if (!this.order.length) return;
    this.active = Math.min(Math.max(position, 0), this.order.length - 1);
    this.reveal();
    this.draw();
    for (const [at, cell] of this.cells) cell.setAttribute("aria-selected", at === this.active);
    this.scroller.setAttribute("aria-activedescendant", `photo-${this.active}`);
    this.chosen(this.order[this.active]);
  }

  /** Scroll as far as it takes to see the active photo. */
  reveal() {
    const { y } = this.place(this.active), { scrollTop, clientHeight } = this.scroller;
    const above = this.segments[this.segmentAt(this.active, "start")].title ? HEADING : GAP;
    if (y - above < scrollTop) this.scroller.scrollTop = y - above;
    else if (y + this.cellHeight + GAP > scrollTop + clientHeight) {
      this.scroller.scrollTop = y + this.cellHeight + GAP - clientHeight;
    }
  }

  /** The position a key leads to from the active one, or undefined. */
  step(name) {
    const { active, columns } = this, page = Math.max(1, Math.floor(this.scroller.clientHeight / (this.cellHeight + GAP)));
    if (!KEYS.includes(name)) return undefined;
    if (active < 0) return name === "End" ? this.order.length - 1 : 0;
    const rows = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page }[name];
    if (rows) return this.rowsOn(rows);
    return { ArrowLeft: active - 1, ArrowRight: active + 1, Home: 0, End: this.order.length - 1 }[name];
  }

  /** So many rows further down, in the same column, segments being crossed. */
  rowsOn(rows) {
    let position = this.active;
    for (let step = Math.sign(rows), left = Math.abs(rows); left; left--) {
      const s = this.segmentAt(position, "start"), segment = this.segments[s];
      const column = (position - segment.start) % this.columns;
      let next = position + step * this.columns;
      if (step > 0 && next >= segment.start + segment.count) {
        const lastRow = Math.floor((segment.count - 1) / this.columns);
        if (Math.floor((position - segment.start) / this.columns) < lastRow) next = segment.start + segment.count - 1;
        else if (s + 1 < this.segments.length) {
          next = this.segments[s + 1].start + Math.min(column, this.segments[s + 1].count - 1);
        } else return position;
      } else if (step < 0 && next < segment.start) {
        if (!s) return position;
        const before = this.segments[s - 1], lastRow = Math.floor((before.count - 1) / this.columns);
        next = before.start + Math.min(lastRow * this.columns + column, before.count - 1);
      }
      position = next;
    }
    return position;
  }
}
