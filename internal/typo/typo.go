// Package typo finds the word that a misspelt one was meant to be.
package typo

import "github.com/xrash/smetrics"

// Nearest returns the closest candidate that is at most two typing errors away, or "".
func Nearest(word string, candidates []string) string {
	const most = 2
	best, distance := "", most+1
	for _, c := range candidates {
		if d := smetrics.WagnerFischer(word, c, 1, 1, 1); d < distance && 2*d < len(word) {
			best, distance = c, d
		}
	}
	return best
}
