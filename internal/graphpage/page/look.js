// How the picture looks. The colours are those of page.css, in light and in dark.

// short writes a number of bits a second in four characters or so.
export function short(n) {
  for (const unit of ["", "k", "M", "G", "T"]) {
    if (n < 999.5 || unit === "T") return (n < 10 && unit ? n.toFixed(1) : String(Math.round(n))) + unit;
    n /= 1000;
  }
}

export function look() {
  const css = getComputedStyle(document.documentElement);
  const c = (name) => css.getPropertyValue(`--${name}`).trim();
  const font = '"Inter", system-ui, "Segoe UI", "DejaVu Sans", sans-serif';
  const inside = { // text at the left in a box
    "text-halign": "right", "text-justification": "left", "text-wrap": "ellipsis",
    "text-margin-x": (n) => -n.data("w") + 8, "text-max-width": (n) => n.data("w") - 14,
  };
  return [
    { selector: "node", style: { shape: "round-rectangle", width: "data(w)", height: "data(h)", label: "data(label)", "font-family": font, color: c("text"),
      "font-size": 11, "text-valign": "center", "border-width": 1, "border-color": c("line"), "background-color": c("tile"), "overlay-opacity": 0, "corner-radius": 5 } },
    { selector: ".hub", style: { "background-color": c("hub"), "border-width": 1.5, "border-color": c("foreign"), "text-wrap": "wrap", "font-size": 12,
      "line-height": 1.25, "text-max-width": (n) => n.data("w") - 10, "text-overflow-wrap": "anywhere" } },
    { selector: ".bridge, .ovs", style: { "border-width": 2.5, "corner-radius": 22 } },
    { selector: ".card, .bond, .vlan, .tunnel", style: { shape: "cut-rectangle", "corner-radius": 6 } },
    { selector: ".vlan, .tunnel", style: { "border-style": "dotted", "border-width": 2 } },
    { selector: ".hub.ours", style: { "border-color": c("ours"), "background-color": c("ours-fill") } },
    { selector: ".tile", style: { ...inside, "font-size": 12, "font-weight": 600, "text-valign": "top", "text-margin-y": 20, "z-index": 1, "border-color": c("line") } },
    { selector: ".tile.port", style: { "font-weight": 400, "border-style": "solid", "background-color": c("foreign-fill") } },
    { selector: ".row", style: { ...inside, "font-size": 10.5, "z-index": 2, "border-width": 0, "background-color": c("foreign-fill"), "corner-radius": 3 } },
    { selector: ".row.ours", style: { "background-color": c("ours-fill") } },
    { selector: ".down", style: { color: c("soft"), "border-style": "dashed" } },
    { selector: ".row.down", style: { "border-width": 1, "border-color": c("foreign"), "background-color": c("tile") } },
    { selector: ".row.bad, .hub.bad, .tile.port.bad", style: { color: c("bad"), "border-width": 1.5, "border-color": c("bad"), "background-color": c("bad-fill") } },
    { selector: ".tile.bad", style: { color: c("bad"), "border-color": c("bad") } },
    { selector: ".rate", style: { width: 1, height: 1, "background-opacity": 0, "border-width": 0, "font-size": 10, "text-halign": "left", "z-index": 4, events: "no",
      "text-background-color": c("tile"), "text-background-opacity": 0.92, "text-background-padding": 1.5, "text-background-shape": "roundrectangle" } },
    { selector: "edge", style: { "curve-style": "straight", width: 1.5, "line-color": c("foreign"), "line-cap": "round", "overlay-opacity": 0, "z-index": 0 } },
    { selector: ".trunk, .stub, .span, .wire", style: { "source-endpoint": "data(start)", "target-endpoint": "data(end)", "edge-distances": "endpoints" } },
    { selector: ".bent", style: { "curve-style": "round-segments", "segment-weights": (e) => e.data("weights"), "segment-distances": (e) => e.data("distances"), "segment-radii": 5 } },
    { selector: "edge[load]", style: { width: (e) => 1.5 + e.data("load") } },
    { selector: "edge[label]", style: { label: "data(label)", "font-size": 10, color: c("soft"), "text-background-color": c("page"), "text-background-opacity": 1, "text-background-padding": 2 } },
    { selector: ".wire", style: { width: 2, "line-style": "dashed", "line-dash-pattern": [5, 3] } },
    { selector: "edge.ours", style: { "line-color": c("ours") } },
    { selector: "edge.down", style: { "line-style": "dashed" } },
    { selector: "edge.bad", style: { "line-color": c("bad"), "z-index": 2 } },
    { selector: "node.fresh", style: { "border-width": 3, "border-color": c("new"), "border-style": "solid" } },
    { selector: "node.picked", style: { "border-width": 2.5, "border-color": c("focus"), "border-style": "solid" } },
    { selector: "edge.path", style: { "line-color": c("focus"), width: 3, "z-index": 3 } },
    { selector: ".dim", style: { opacity: 0.18 } },
  ];
}
