// The panel with what is known of one node.
import { short } from "./look.js";

// make returns an element with text, and what else is in it.
function make(name, text, ...inner) {
  const e = document.createElement(name);
  if (text) e.textContent = text;
  e.append(...inner);
  return e;
}

// describe fills the panel.
export function describe(box, node, state, can) {
  const { nodes } = state.model;
  const close = make("button", "\u00d7");
  close.className = "close";
  close.setAttribute("aria-label", "Close details");
  close.addEventListener("click", can.close);
  const kind = node.kind === "interface" ? node.type || "interface" : can.kind(node);
  const what = make("p", node.kind === "guest" ? kind : `${kind}, ${node.ours ? "by gopipework" : "by others"}`);
  what.className = "what";
  const out = [make("header", "", make("h2", node.name), close), what];
  for (const f of findings(node, state)) {
    const p = make("p", f);
    p.className = "finding";
    out.push(p);
  }
  out.push(facts(node, can));
  const inside = state.model.tiles.get(node.id)?.rows ?? [];
  if (inside.length) out.push(make("h3", "Interfaces"), links(inside.map((n) => [n, inShort(n, state)]), can));
  const at = neighbours(node, state);
  if (at.length) out.push(make("h3", "Connected to"), links(at, can));
  if (node.parent && nodes.has(node.parent)) out.push(make("h3", "In"), links([[nodes.get(node.parent), ""]], can));
  const top = box.scrollTop;
  box.replaceChildren(...out);
  box.scrollTop = box.dataset.of === node.id ? top : 0;
  box.dataset.of = node.id;
}

// inShort says of an interface in a guest what addresses it has, and what it hangs on.
function inShort(n, state) {
  const on = state.model.stubs.filter((s) => s.row === n.id).map((s) => `on ${state.model.nodes.get(s.hub).name}`);
  return [...(n.addresses ?? []), ...on].join(", ");
}

// findings are those of a node, and of the interfaces in it.
function findings(node, state) {
  const rows = state.model.tiles.get(node.id)?.rows ?? [];
  const of = (n, before) => (state.seen.findings[n.id] ?? []).map((f) => before + f);
  return [...of(node, ""), ...rows.flatMap((r) => of(r, `${r.name}: `))];
}

function facts(node, can) {
  const dl = make("dl"), rate = node.kind !== "guest" && can.rate(node.id);
  const all = [
    ["State", node.state], ["Type", node.kind === "interface" ? "" : node.type], ["Mode", node.mode], ["Addresses", (node.addresses ?? []).join("\n")], ["Gateway", (node.gateway ?? []).join("\n")],
    ["VLAN", node.vlan], ["MAC", node.mac], ["MTU", node.mtu], ["Index", node.index], ["Named as", node.word === node.name ? "" : node.word], ["PID", node.pid], ["Namespace", node.netns],
    ["Left out", node.hidden], ["Receives", rate && `${short(rate[0] * 8)}bit/s`], ["Sends", rate && `${short(rate[1] * 8)}bit/s`],
  ];
  for (const [name, value] of all) {
    if (!value) continue;
    const lines = String(value).split("\n");
    dl.append(make("dt", name), make("dd", "", ...lines.flatMap((l, n) => (n ? [make("br"), l] : [l]))));
  }
  return dl;
}

// neighbours are what a node has links to, with what is to be said of each.
function neighbours(node, state) {
  const { nodes } = state.model, all = [];
  for (const l of state.seen.links) {
    const other = nodes.get(l.from === node.id ? l.to : l.to === node.id ? l.from : "");
    if (!other) continue;
    const guest = nodes.get(other.parent);
    all.push([other, [guest ? `in ${guest.name}` : "", l.vlan ? `vlan ${l.vlan}` : ""].filter(Boolean).join(", ")]);
  }
  return all.sort((a, b) => a[0].name.localeCompare(b[0].name, "en", { numeric: true }));
}

function links(all, can) {
  const ul = make("ul");
  for (const [n, more] of all) {
    const b = make("button", n.name), li = make("li", "", b);
    b.addEventListener("click", () => can.select(n.id));
    if (more) li.append(make("small", more));
    ul.append(li);
  }
  return ul;
}
