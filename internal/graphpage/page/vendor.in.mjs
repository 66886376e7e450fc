// What the page uses of others: one file, which "make page" bundles and compresses.
export { default as cytoscape } from "cytoscape";
export { Graph, layout } from "@dagrejs/dagre";
