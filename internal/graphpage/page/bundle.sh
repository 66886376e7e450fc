#!/bin/bash
# Bundle what the page uses of others, as package.json and package-lock.json pin it, into
# vendor.js.gz, with the licences in licences.txt. The same input gives the same bytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp package.json package-lock.json vendor.in.mjs "$dir"
(cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund --silent)
"$dir/node_modules/.bin/esbuild" "$dir/vendor.in.mjs" --bundle --minify --format=esm --target=es2020 \
	--legal-comments=none --log-level=warning --outfile="$dir/out.js"
gzip -9 -n -c "$dir/out.js" >vendor.js.gz
{
	echo "The page of gopipework graph --serve has in it:"
	for name in cytoscape @dagrejs/dagre @dagrejs/graphlib; do
		version=$(node -p "require('$dir/node_modules/$name/package.json').version")
		printf "\n%s %s\n\n" "$name" "$version"
		cat "$dir/node_modules/$name/LICENSE"
	done
	printf '\n%s\n\n' "cytoscape has parts of others in it, under the same licence (MIT):"
	grep -hoE 'Copyright( \(c\))? [0-9-]+ [A-Z].*|copyright Koen Bok' "$dir/node_modules/cytoscape/dist/cytoscape.esm.mjs" |
		grep -v 'Cytoscape Consortium' | sed 's|\. MIT License.*||; s| \*/||' | sort -u
} >licences.txt
