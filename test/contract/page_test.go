package contract_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The page and the table say the same, word by word. A sentence of the page is a list item that begins with its number.
func TestPageAndTable(t *testing.T) {
	data, err := os.ReadFile("../../docs/contract.md")
	if err != nil {
		t.Fatal(err)
	}
	var page, table []string
	for _, line := range strings.Split(string(data), "\n- **")[1:] {
		line, _, _ = strings.Cut(line, "\n\n")
		number, text, _ := strings.Cut(line, "** ")
		page = append(page, number+" "+strings.Join(strings.Fields(text), " "))
	}
	for _, s := range contract() {
		table = append(table, s.number+" "+s.text)
	}
	for _, line := range page {
		if !slices.Contains(table, line) {
			t.Errorf("only on the page:\n%s", line)
		}
	}
	for _, line := range table {
		if !slices.Contains(page, line) {
			t.Errorf("only in the table:\n%s", line)
		}
	}
	if !t.Failed() && !slices.Equal(page, table) {
		t.Error("their order differs, or a sentence is there twice")
	}
}
