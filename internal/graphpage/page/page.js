// The page: follows the stream of events, draws what is there, and shows details. All text
// that comes from the host is set as text, never as HTML.
import { arrange, bends, read } from "./layout.js";
import { look, short } from "./look.js";
import { describe } from "./details.js";
import { cytoscape } from "./vendor.js";

const $ = (id) => document.getElementById(id);
const FRESH = 2500; // ms for which what has just come is marked
const QUIET = 250; // bytes a second that are not worth showing
const SILENT = 5000; // ms after which a stream that says nothing is taken for lost

const state = { seen: null, model: null, drawn: null, rates: {}, selected: null, query: "", moved: false };

const cy = cytoscape({
  container: $("graph"), style: look(), minZoom: 0.08, maxZoom: 3,
  autoungrabify: true, autounselectify: true, boxSelectionEnabled: false, pixelRatio: "auto",
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => cy.style(look()));

// ---- what is there ----

// classes says how something is to look.
function classes(node, extra = "") {
  const found = state.seen.findings[node.id]?.length;
  return [extra, node.ours ? "ours" : "foreign", ["down", "no carrier", "unseen", "parked"].includes(node.state) ? "down" : "",
    found ? "bad" : ""].filter(Boolean).join(" ");
}

const bad = (node) => (state.seen.findings[node.id]?.length ? "\u26a0 " : "");

function rowLabel(n) {
  const say = [n.name, n.addresses?.[0] ?? "", n.addresses?.length > 1 ? `+${n.addresses.length - 1}` : "",
    n.state && n.state !== "up" ? n.state : ""];
  return bad(n) + say.filter(Boolean).join("  ");
}

function tileLabel(n) {
  return bad(n) + n.name + (n.state && n.state !== "up" ? `  (${n.state})` : "");
}

function hubLabel(n) {
  const second = [n.addresses?.[0] ?? kindOf(n), n.vlan ? `vlan ${n.vlan}` : "", n.state && n.state !== "up" ? n.state : "", n.hidden ? `+${n.hidden} more` : ""];
  return `${bad(n)}${cut(n.name, 22)}\n${cut(second.filter(Boolean).join("  "), 24)}`;
}

const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}\u2026` : text);

// plain replaces what could turn text around, or hide a part of it.
const plain = (text) => text?.replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu, "\ufffd");

const kindOf = (n) => ({ ovs: "Open vSwitch bridge", bridge: "bridge", vrf: "VRF", vlan: "VLAN" })[n.kind] ?? n.kind;

// edge is a line along some points, from one node to another.
function edge(model, id, source, target, points, cls, data) {
  const s = model.at.get(source), t = model.at.get(target), a = points[0], z = points.at(-1), bend = bends(points);
  return { group: "edges", classes: bend.weights.length ? `${cls} bent` : cls, data: { id, source, target, ...data, ...bend,
    start: `${a.x - s.x}px ${a.y - s.y}px`, end: `${z.x - t.x}px ${z.y - t.y}px` } };
}

// elements turns a model with places into what cytoscape draws.
function elements(model, drawn) {
  const nodes = [], edges = [];
  const add = (n, cls, label) => {
    const at = model.at.get(n.id);
    nodes.push({ group: "nodes", data: { id: n.id, label, w: at.width, h: at.height }, position: { x: at.x, y: at.y }, classes: classes(n, cls) });
  };
  for (const n of model.hubs.values()) add(n, `hub ${n.kind}`, hubLabel(n));
  for (const t of model.tiles.values()) {
    add(t.node, t.node.kind === "port" ? "tile port" : "tile", tileLabel(t.node));
    for (const r of t.rows) add(r, "row", rowLabel(r));
  }
  const line = (...what) => edges.push(edge(model, ...what));
  for (const t of drawn.trunks) {
    line(t.id, t.hub, t.to, t.points, classes(model.hubs.get(t.hub), "trunk").replace("bad", ""));
  }
  for (const s of drawn.stubs) {
    const n = model.nodes.get(s.row);
    const cls = [classes(n, "stub"), s.port && state.seen.findings[s.port.id]?.length ? "bad" : "", s.port?.state === "down" ? "down" : ""].join(" ");
    line(`stub ${s.id}`, s.hub, s.row, s.points, cls, { of: s.row });
  }
  for (const s of model.spans) {
    line(`span ${s.id}`, s.upper, s.lower, s.points, classes(model.nodes.get(s.from), `span ${s.link.ours ? "ours" : ""}`), { label: s.link.vlan ? `vlan ${s.link.vlan}` : "", of: s.from });
  }
  for (const w of drawn.wires) line(`wire ${w.id}`, w.from, w.to, w.points, `wire ${w.link.ours ? "ours" : "foreign"}`, { of: w.from });
  return { nodes, edges };
}

// draw brings the picture to what is there. Nodes stay what they are, so that only what
// has come is marked.
function draw() {
  const before = state.model;
  state.model = read(state.seen);
  state.ratio = ratio();
  const drawn = arrange(state.model, state.ratio);
  state.drawn = drawn;
  const { nodes, edges } = elements(state.model, drawn);
  const wanted = new Map(nodes.map((n) => [n.data.id, n]));
  const come = before ? nodes.filter((n) => cy.getElementById(n.data.id).empty()) : [];
  cy.batch(() => {
    cy.edges().remove();
    cy.nodes().forEach((n) => { if (!wanted.has(n.id())) n.remove(); });
    for (const n of nodes) {
      const at = cy.getElementById(n.data.id);
      if (at.empty()) cy.add(n);
      else at.data(n.data).position(n.position).classes(n.classes);
    }
    cy.add(edges);
    for (const n of come) cy.getElementById(n.data.id).addClass("fresh");
  });
  if (come.length) setTimeout(() => cy.nodes().removeClass("fresh"), FRESH);
  announce(before, state.model);
  if (!state.moved) fit();
  if (state.selected && !state.model.nodes.has(state.selected)) state.selected = null;
  $("empty").hidden = nodes.length > 0;
  showTraffic();
  list();
  mark();
  details();
}

// announce says for a screen reader what has come and gone.
function announce(before, after) {
  if (!before) return;
  const name = (n) => (n.parent ? `${n.name} of ${after.nodes.get(n.parent)?.name ?? before.nodes.get(n.parent)?.name}` : n.name);
  const said = [];
  for (const n of after.nodes.values()) if (!before.nodes.has(n.id)) said.push(`${name(n)} has come`);
  for (const n of before.nodes.values()) if (!after.nodes.has(n.id)) said.push(`${name(n)} has gone`);
  if (said.length) $("said").textContent = said.slice(0, 4).join(", ");
}

// ---- traffic ----

// rateOf returns bytes a second that an interface receives and sends. What a port sends is
// received at the other end.
function rateOf(id) {
  const own = state.rates[id];
  if (own) return own;
  const stub = state.model.stubs.find((s) => s.row === id && s.port && state.rates[s.port.id]);
  return stub ? [...state.rates[stub.port.id]].reverse() : null;
}

function showTraffic() {
  const busy = new Map();
  for (const n of state.model.nodes.values()) {
    const r = state.model.at.has(n.id) && n.kind !== "guest" && rateOf(n.id);
    if (r && r[0] + r[1] >= QUIET) busy.set(n.id, r);
  }
  cy.batch(() => {
    cy.nodes(".rate").forEach((n) => { if (!busy.has(n.data("of"))) n.remove(); });
    for (const [id, [received, sent]] of busy) {
      const at = state.model.at.get(id), label = `\u2193${short(received * 8)} \u2191${short(sent * 8)}`;
      const position = { x: at.x + at.width / 2 - 4, y: state.model.hubs.has(id) ? at.y + at.height / 2 + 9 : at.y };
      const n = cy.getElementById(`rate ${id}`);
      if (n.empty()) cy.add({ group: "nodes", data: { id: `rate ${id}`, of: id, label }, position, classes: "rate" });
      else n.data("label", label).position(position);
    }
    cy.edges("[of]").forEach((e) => {
      const r = busy.get(e.data("of"));
      e.data("load", r ? Math.min(4, Math.log10(1 + (r[0] + r[1]) / 1000)) : 0);
    });
  });
}

// ---- the list, and the search in it ----

// matches says whether a guest, or what the host has, is searched for.
function matches(node, rows = []) {
  const words = [node, ...rows].flatMap((n) => [n.name, n.word, n.mac, ...(n.addresses ?? [])]);
  return words.some((w) => w?.toLowerCase().includes(state.query));
}

function list() {
  const box = $("list"), focused = document.activeElement?.dataset?.id;
  const groups = [["Guests", []], ["Bridges", []], ["Cards and more", []]];
  const tiles = [...state.model.tiles.values()];
  for (const t of tiles) if (matches(t.node, t.rows)) groups[t.node.kind === "guest" ? 0 : 2][1].push([t.node, t.rows]);
  for (const h of state.model.hubs.values()) if (matches(h)) groups[["bridge", "ovs", "vrf"].includes(h.kind) ? 1 : 2][1].push([h, []]);
  box.replaceChildren();
  for (const [name, all] of groups) {
    if (!all.length) continue;
    const h = document.createElement("h2"), ul = document.createElement("ul");
    h.textContent = `${name} (${all.length})`;
    all.sort((a, b) => a[0].name.localeCompare(b[0].name, "en", { numeric: true }));
    for (const [n, rows] of all) ul.append(entry(n, rows));
    box.append(h, ul);
  }
  if (!box.childElementCount) {
    const p = document.createElement("p");
    p.textContent = state.query ? "Nothing matches." : "";
    box.append(p);
  }
  if (focused) [...box.querySelectorAll("button")].find((b) => b.dataset.id === focused)?.focus();
}

function entry(n, rows) {
  const li = document.createElement("li"), b = document.createElement("button"), small = document.createElement("small");
  const found = [n, ...rows].some((r) => state.seen.findings[r.id]?.length);
  b.dataset.id = n.id;
  b.textContent = (found ? "\u26a0 " : "") + n.name;
  small.textContent = (n.addresses ?? rows.flatMap((r) => r.addresses ?? [])).map((a) => a.replace(/\/\d+$/, "")).slice(0, 2).join(", ");
  b.append(small);
  b.className = found ? "bad" : n.state && n.state !== "up" ? "down" : n.ours || rows.some((r) => r.ours) ? "ours" : "";
  b.setAttribute("aria-current", String(n.id === state.selected || state.model.nodes.get(state.selected)?.parent === n.id));
  b.addEventListener("click", () => select(n.id, true));
  li.append(b);
  return li;
}

// mark fades what is not searched for, and brings out what is selected and what it hangs on.
function mark() {
  const wanted = new Set();
  if (state.query) {
    for (const t of state.model.tiles.values()) if (matches(t.node, t.rows)) [t.id, ...t.rows.map((r) => r.id)].forEach((id) => wanted.add(id));
    for (const h of state.model.hubs.values()) if (matches(h)) wanted.add(h.id);
  }
  cy.batch(() => {
    cy.edges(".way").remove();
    cy.elements().removeClass("dim picked path");
    if (state.query) cy.elements("node, .stub, .wire").forEach((e) => { if (!wanted.has(e.data("of") ?? e.id())) e.addClass("dim"); });
    const picked = cy.getElementById(state.selected ?? "");
    picked.addClass("picked");
    const rows = new Set([state.selected, ...(state.model.tiles.get(state.selected)?.rows.map((r) => r.id) ?? [])]);
    cy.edges("[of]").forEach((e) => { if (rows.has(e.data("of"))) e.addClass("path"); });
    for (const s of state.drawn.stubs.filter((s) => rows.has(s.row))) {
      const t = state.drawn.trunks.find((t) => t.id === s.trunk);
      cy.add(edge(state.model, `way ${s.id}`, s.hub, s.row, [...t.points.slice(0, -1), ...s.points], "trunk way path"));
    }
  });
}

// ---- selection ----

function select(id, show = false) {
  state.selected = id;
  list();
  mark();
  details();
  const at = cy.getElementById(id ?? "");
  if (show && at.nonempty() && !legible(at)) {
    state.moved = true;
    const zoom = Math.max(cy.zoom(), 0.9);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) cy.zoom(zoom).center(at);
    else cy.animate({ center: { eles: at }, zoom }, { duration: 250 });
  }
}

// legible reports whether something can be seen and read as the picture is.
function legible(at) {
  const box = at.renderedBoundingBox();
  return cy.zoom() >= 0.75 && box.x1 >= 0 && box.y1 >= 0 && box.x2 <= cy.width() && box.y2 <= cy.height();
}

function details() {
  const box = $("details"), node = state.model?.nodes.get(state.selected);
  const was = box.hidden, held = box.contains(document.activeElement);
  box.hidden = !node;
  if (node) describe(box, node, state, { select: (id) => select(id, true), close: () => select(null), rate: rateOf, kind: kindOf });
  if (held) (node ? box : $("graph")).focus();
  if (was !== box.hidden) resized();
}

cy.on("tap", (e) => {
  if (e.target === cy) return select(null);
  const id = e.target.data("of") ?? (e.target.hasClass("trunk") ? e.target.data("source") : e.target.id());
  select(id);
});
cy.on("mouseover", "node, .stub, .wire", () => ($("graph").style.cursor = "pointer"));
cy.on("mouseout", () => ($("graph").style.cursor = ""));
cy.on("dragpan scrollzoom pinchzoom", () => (state.moved = true));

// ---- moving about ----

function fit() {
  state.moved = false;
  cy.fit(undefined, 24);
  if (cy.zoom() > 1.15) cy.zoom(1.15).center();
}

function zoom(by) {
  state.moved = true;
  cy.zoom({ level: cy.zoom() * by, renderedPosition: { x: cy.width() / 2, y: cy.height() / 2 } });
}

const ratio = () => Math.max(0.6, cy.width() / Math.max(cy.height(), 1));

function resized() {
  cy.resize();
  if (state.moved || !state.seen) return;
  if (Math.abs(ratio() / state.ratio - 1) > 0.5) draw(); // not for the panel of details
  else fit();
}
new ResizeObserver(resized).observe($("picture"));

$("fit").addEventListener("click", fit);
$("in").addEventListener("click", () => zoom(1.3));
$("out").addEventListener("click", () => zoom(1 / 1.3));
$("graph").addEventListener("keydown", (e) => {
  const step = 60, pan = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[e.key];
  if (!pan) return;
  state.moved = true;
  cy.panBy({ x: pan[0], y: pan[1] });
  e.preventDefault();
});
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const typing = e.target === $("search");
  if (e.key === "Escape") {
    if (typing && state.query) search("");
    else {
      if (typing) e.target.blur();
      select(null);
    }
  } else if (!typing && e.key === "/") $("search").focus();
  else if (!typing && e.key.toLowerCase() === "f") fit();
  else if (!typing && (e.key === "+" || e.key === "=")) zoom(1.3);
  else if (!typing && e.key === "-") zoom(1 / 1.3);
  else return;
  e.preventDefault();
});

// Up and down lead from the search through the list.
document.querySelector("nav").addEventListener("keydown", (e) => {
  if (e.key !== "ArrowDown" && e.key !== "ArrowUp" && !(e.key === "Enter" && e.target === $("search"))) return;
  const all = [$("search"), ...$("list").querySelectorAll("button")];
  const next = all[all.indexOf(document.activeElement) + (e.key === "ArrowUp" ? -1 : 1)];
  if (e.key === "Enter") next?.click();
  else next?.focus();
  e.preventDefault();
});

function search(text) {
  $("search").value = text;
  state.query = text.trim().toLowerCase();
  if (!state.model) return;
  list();
  mark();
}
$("search").addEventListener("input", () => search($("search").value));

// ---- the stream ----

let heard = 0;

function live(how, text) {
  $("live").dataset.state = how;
  if ($("livetext").textContent !== text) $("livetext").textContent = text;
}

function trouble() {
  const all = [state.trouble, ...(state.seen?.warnings ?? [])].filter(Boolean);
  $("trouble").hidden = !all.length;
  $("trouble").textContent = all.join("\n");
}

const on = {
  graph(seen) {
    for (const n of seen.nodes) [n.name, n.word] = [plain(n.name), plain(n.word)];
    for (const id of Object.keys(seen.findings)) seen.findings[id] = seen.findings[id].map(plain);
    state.seen = seen;
    $("host").textContent = seen.host;
    document.title = `${seen.host}: gopipework graph`;
    draw();
    const n = seen.nodes.filter((x) => x.kind === "guest").length, findings = Object.values(seen.findings).flat().length;
    const ours = seen.nodes.filter((x) => x.kind === "interface" && x.ours).length;
    $("counts").textContent = [`${n} guest${n === 1 ? "" : "s"}`, `${ours} attachment${ours === 1 ? "" : "s"} of gopipework`,
      findings ? `${findings} finding${findings === 1 ? "" : "s"}` : "no findings"].join(", ");
    trouble();
  },
  traffic(rates) {
    state.rates = rates;
    if (!state.model) return;
    showTraffic();
    if (state.selected && !$("details").contains(document.activeElement)) details();
  },
  trouble(text) {
    state.trouble = text;
    trouble();
  },
};

const stream = new EventSource("events");
for (const [name, react] of Object.entries(on)) {
  stream.addEventListener(name, (e) => {
    heard = Date.now();
    live("live", "live");
    react(JSON.parse(e.data));
  });
}
stream.addEventListener("error", () => live("lost", "not connected; trying again"));
setInterval(() => { if (heard && Date.now() - heard > SILENT) live("lost", "not connected; trying again"); }, 1000);
