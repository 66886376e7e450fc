// Where everything stands: from what is there to positions. Nothing here knows a page.
//
// Bridges, cards and all else that the host has are ranked from the outside inwards.
// Guests that hang on the same of them share a block of columns, below. A line, the riser,
// runs down at the left of each column, one for each bridge that the block hangs on, and
// from it a stub leads to each interface: a hundred guests cross nothing.
import { Graph, layout } from "./vendor.js";

export const tile = { width: 214, head: 24, row: 18, foot: 5, gap: 12 };
const hub = { width: 168, height: 44 };
const lane = 9; // between lines side by side

const ranks = { bridge: 1, ovs: 1, vrf: 1, port: 2, guest: 3, interface: 3 };
const rank = (node) => ranks[node.kind] ?? 0;

const collator = new Intl.Collator("en", { numeric: true });

// read sorts a graph into hubs (what the host has), tiles (guests, and ports without one),
// and what joins them. A port between an interface and its bridge is a part of that link.
export function read(graph) {
  const nodes = new Map(graph.nodes.map((n) => [n.id, n]));
  const links = graph.links.filter((l) => nodes.has(l.from) && nodes.has(l.to));
  const out = new Map(), into = new Map();
  for (const l of links) {
    out.set(l.from, [...(out.get(l.from) ?? []), l]);
    into.set(l.to, [...(into.get(l.to) ?? []), l]);
  }
  const inner = (l) => nodes.get(l.from).kind === "interface";
  const folded = new Set(), tiles = new Map(), hubs = new Map();
  for (const n of graph.nodes) {
    const up = out.get(n.id) ?? [], down = into.get(n.id) ?? [];
    if (n.kind === "guest") tiles.set(n.id, { id: n.id, node: n, rows: [] });
    else if (n.kind === "port" && up.length === 1 && down.length === 1 && inner(down[0])) folded.add(n.id);
    else if (n.kind === "port" && down.length === 0) tiles.set(n.id, { id: n.id, node: n, rows: [], own: up });
    else if (n.kind !== "interface") hubs.set(n.id, n);
  }
  const stubs = [], wires = [], spans = [];
  const hang = (row, l) => {
    let port = nodes.get(l.to), from = l;
    if (folded.has(port.id)) from = out.get(port.id)[0];
    else port = undefined;
    const to = nodes.get(from.to);
    if (to.kind === "interface") wires.push({ id: `${l.from} ${l.to}`, from: l.from, to: l.to, link: l });
    else stubs.push({ id: `${l.from} ${from.to}`, row, hub: from.to, port, ours: l.ours, vlan: from.vlan ?? l.vlan, kind: from.kind });
  };
  for (const n of graph.nodes) {
    if (n.kind !== "interface" || !tiles.has(n.parent)) continue;
    tiles.get(n.parent).rows.push(n);
    for (const l of out.get(n.id) ?? []) hang(n.id, l);
  }
  for (const t of tiles.values()) for (const l of t.own ?? []) hang(t.id, l);
  for (const l of links) {
    if (hubs.has(l.from) && hubs.has(l.to)) spans.push({ id: `${l.from} ${l.to}`, from: l.from, to: l.to, link: l });
  }
  return { nodes, hubs, tiles, stubs, wires, spans };
}

// arrange gives everything its place, for a picture of that ratio of width to height.
export function arrange(model, ratio) {
  model.rows = new Map(); // the tile of each row
  for (const t of model.tiles.values()) {
    t.height = tile.head + tile.row * t.rows.length + (t.rows.length ? tile.foot : 0);
    t.hubs = new Set();
    for (const r of [t, ...t.rows]) model.rows.set(r.id, t);
  }
  for (const s of model.stubs) model.rows.get(s.row).hubs.add(s.hub);
  const blocks = blocksOf(model);
  const limit = heightFor(blocks, ratio);
  for (const b of blocks) fill(b, limit);
  place(model, blocks);
  return { ...route(model, blocks), wires: wires(model) };
}

// blocksOf gathers the tiles that hang on the same hubs.
function blocksOf(model) {
  const groups = new Map();
  const tiles = [...model.tiles.values()].sort((a, b) => collator.compare(a.node.name, b.node.name));
  for (const t of tiles) {
    const hubs = [...t.hubs].sort(collator.compare), key = hubs.join("\n");
    if (!groups.has(key)) {
      const gutter = hubs.length ? 8 + lane * hubs.length : tile.gap;
      groups.set(key, { id: `block ${key}`, hubs, tiles: [], gutter, pitch: tile.width + gutter + tile.gap });
    }
    groups.get(key).tiles.push(t);
  }
  const buses = new Set([...groups.values()].flatMap((b) => b.hubs)).size;
  for (const b of groups.values()) b.top = 12 + lane * Math.min(buses, 12);
  return [...groups.values()];
}

// heightFor returns how high columns may be, so that all blocks side by side have about
// the ratio of the picture.
function heightFor(blocks, ratio) {
  const above = 230; // the hubs
  for (let limit = 150; ; limit *= 1.08) {
    const width = blocks.reduce((sum, b) => sum + columnsOf(b, limit) * b.pitch + 36, 0);
    if (width <= ratio * (limit + above)) return limit;
  }
}

// columnsOf returns how many columns of that height the tiles of a block take.
function columnsOf(b, limit) {
  let n = 0, y = Infinity;
  for (const t of b.tiles) {
    if (y + t.height > limit) {
      n++;
      y = 0;
    }
    y += t.height + tile.gap;
  }
  return n;
}

// fill distributes the tiles of a block over its columns, from top to bottom, and makes
// them about equally high.
function fill(b, limit) {
  const columns = columnsOf(b, limit);
  let even = b.tiles.reduce((sum, t) => sum + t.height + tile.gap, 0) / columns;
  while (columnsOf(b, even) > columns) even *= 1.03;
  let column = -1, y = Infinity;
  b.height = 0;
  for (const t of b.tiles) {
    if (y + t.height > even) {
      column++;
      y = 0;
    }
    Object.assign(t, { column, dy: y });
    y += t.height + tile.gap;
    b.height = Math.max(b.height, b.top + y);
  }
  b.width = (column + 1) * b.pitch;
}

// outer returns the end of a link between hubs that stands above the other.
function outer(model, l) {
  const by = rank(model.hubs.get(l.from)) - rank(model.hubs.get(l.to));
  const from = by < 0 || (by === 0 && l.kind === "port"); // a card above its bond
  return from ? [l.from, l.to] : [l.to, l.from];
}

// place has dagre rank hubs and blocks.
function place(model, blocks) {
  const g = new Graph();
  g.setGraph({ rankdir: "TB", nodesep: 36, ranksep: 40, edgesep: 16, marginx: 10, marginy: 10 });
  g.setDefaultEdgeLabel(() => ({}));
  const hubs = [...model.hubs.values()].sort((a, b) => rank(a) - rank(b) || collator.compare(a.name, b.name));
  for (const h of hubs) g.setNode(h.id, { ...hub });
  for (const b of blocks) g.setNode(b.id, { width: b.width, height: b.height });
  for (const s of model.spans) {
    [s.upper, s.lower] = outer(model, s.link);
    g.setEdge(s.upper, s.lower);
  }
  for (const b of blocks) for (const h of b.hubs) g.setEdge(h, b.id, { weight: b.tiles.length });
  root(g, hubs, blocks);
  layout(g);
  model.at = new Map();
  for (const h of hubs) model.at.set(h.id, { ...hub, x: g.node(h.id).x, y: g.node(h.id).y });
  const high = new Map(); // the highest block of those side by side
  for (const b of blocks) high.set(g.node(b.id).y, Math.max(high.get(g.node(b.id).y) ?? 0, b.height));
  for (const b of blocks) {
    const { x, y } = g.node(b.id);
    b.x = x - b.width / 2;
    b.y = y - high.get(y) / 2;
    for (const t of b.tiles) set(model, b, t);
    b.ways = new Map(b.hubs.map((h) => [h, g.edge(h, b.id).points]));
  }
  for (const s of model.spans) s.points = span(model, s, g.edge(s.upper, s.lower).points);
}

// span leads from a hub down to one below it.
function span(model, s, points) {
  const from = model.at.get(s.upper), to = model.at.get(s.lower);
  const start = { x: from.x, y: from.y + from.height / 2 }, end = { x: to.x, y: to.y - to.height / 2 };
  const way = around(points, from, end.y), last = way.at(-1)?.x ?? start.x, y = end.y - 16;
  return [start, ...way, ...(Math.abs(last - end.x) > 1 ? [{ x: last, y }, { x: end.x, y }] : []), end];
}

// root holds what nothing is above in the rank that it belongs to: cards first, then
// bridges, and guests that hang on nothing.
const top = "the outside";
function root(g, hubs, blocks) {
  const cards = hubs.some((h) => rank(h) === 0);
  g.setNode(top, { width: 1, height: 1 });
  for (const h of hubs) {
    if (!g.inEdges(h.id).length) g.setEdge(top, h.id, { weight: 0.01, minlen: cards && rank(h) > 0 ? 2 : 1 });
  }
  for (const b of blocks) {
    if (!b.hubs.length) g.setEdge(top, b.id, { weight: 0.01, minlen: cards ? 3 : 2 });
  }
}

// set gives a tile and its rows their places.
function set(model, b, t) {
  t.x = b.x + t.column * b.pitch + b.gutter + tile.width / 2;
  t.y = b.y + b.top + t.dy + t.height / 2;
  const first = b.y + b.top + t.dy + tile.head + tile.row / 2;
  model.at.set(t.id, { x: t.x, y: t.y, width: tile.width, height: t.height });
  t.rows.forEach((r, n) => model.at.set(r.id, { x: t.x, y: first + n * tile.row, width: tile.width - 8, height: tile.row - 2 }));
}

// route draws the lines. Of each hub a bus runs above the blocks; a trunk leads along it and
// down to the lowest tile of each column that hangs on the hub, a stub to each interface.
function route(model, blocks) {
  const trunks = new Map(), stubs = [];
  const blockOf = new Map(blocks.flatMap((b) => b.tiles.map((t) => [t.id, b])));
  for (const s of model.stubs) {
    const t = model.rows.get(s.row), b = blockOf.get(t.id), n = b.hubs.indexOf(s.hub);
    const x = b.x + t.column * b.pitch + 6 + lane * n;
    const { y, width, x: middle } = model.at.get(s.row);
    const rowY = s.row === t.id ? y + 4 * n : y;
    const id = `trunk ${b.id} ${s.hub} ${t.column}`;
    if (!trunks.has(id)) trunks.set(id, { id, hub: s.hub, block: b, x, y: rowY });
    const trunk = trunks.get(id);
    if (rowY >= trunk.y) Object.assign(trunk, { y: rowY, to: s.row });
    stubs.push({ ...s, trunk: id, points: [{ x, y: rowY }, { x: middle - width / 2, y: rowY }] });
  }
  // Farther to the left is lower: lines that lead to the right then cross least.
  const buses = [...new Set([...trunks.values()].map((t) => t.hub))].sort((a, b) => model.at.get(b).x - model.at.get(a).x);
  for (const t of trunks.values()) {
    const b = t.block, from = model.at.get(t.hub);
    const y = b.y + 4 + ((b.top - 12) * buses.indexOf(t.hub)) / buses.length;
    const way = around(b.ways.get(t.hub), from, y);
    t.points = [{ x: from.x, y: from.y + from.height / 2 }, ...way, { x: way.at(-1)?.x ?? from.x, y }, { x: t.x, y }, { x: t.x, y: t.y }];
  }
  return { trunks: [...trunks.values()], stubs };
}

// around returns where a line has to bend to pass by the hubs that stand between its own
// and a block. Dagre has left room for it there.
function around(points, from, end) {
  const inner = points.slice(1, -1).filter((p) => p.y > from.y + from.height && p.y < end - hub.height / 2);
  if (points.length <= 3) return [];
  let x = from.x;
  return inner.flatMap((p) => {
    const y = p.y - hub.height / 2 - 12, bend = Math.abs(p.x - x) > 1 ? [{ x, y }, { x: p.x, y }] : [];
    x = p.x;
    return bend;
  });
}

// wires leave a row at its right, and lead down beside the column, or below both.
function wires(model) {
  const right = (id) => ({ x: model.at.get(id).x + model.at.get(id).width / 2, y: model.at.get(id).y });
  return model.wires.map((w, n) => {
    const a = right(w.from), z = right(w.to), out = 8 + (n % 3) * 4;
    const below = a.x === z.x ? [] : [a, z].map((p) => ({ x: p.x + out, y: Math.max(...[w.from, w.to].map((id) => bottom(model, id))) + 6 + 5 * (n % 6) }));
    return { ...w, points: [a, { x: a.x + out, y: a.y }, ...below, { x: z.x + out, y: z.y }, z] };
  });
}

// bottom returns where the column ends that a row is in.
function bottom(model, id) {
  const x = model.rows.get(id).x;
  return Math.max(...[...model.tiles.values()].filter((t) => t.x === x).map((t) => t.y + t.height / 2));
}

// bends says where a line bends as cytoscape wants to know it: how far along the straight
// way from its first to its last point, and how far beside.
export function bends(points) {
  const a = points[0], z = points.at(-1);
  const dx = z.x - a.x, dy = z.y - a.y, length = Math.hypot(dx, dy) || 1;
  const inner = points.slice(1, -1);
  return {
    weights: inner.map((p) => ((p.x - a.x) * dx + (p.y - a.y) * dy) / (length * length)),
    distances: inner.map((p) => ((p.y - a.y) * dx - (p.x - a.x) * dy) / length),
  };
}
