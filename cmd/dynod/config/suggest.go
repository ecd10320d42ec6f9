package config

import "strings"

// nearest is the candidate that a slip of the keyboard or a forgotten section would turn into word, or empty.
func nearest(word string, candidates []string) string {
	best, least := "", 1+min(3, len(word)/3)
	for _, c := range candidates {
		d := distance(word, c)
		if tail := c[strings.LastIndexByte(c, '.')+1:]; tail == word[strings.LastIndexByte(word, '.')+1:] {
			d = min(d, 1)
		}
		if d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete or replace to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
