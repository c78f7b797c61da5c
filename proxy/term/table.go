package term

import (
	"slices"
	"strings"
)

// A Column is one of a table.
type Column struct {
	Name   string
	Number bool // it holds numbers, which stand at the right
	// Rank says when it is dropped where the terminal is narrow: the highest goes
	// first, 0 never.
	Rank int
	// Least is how many columns a long cell may be shortened to, in the middle; 0
	// if it may not.
	Least int
	Shade func(cell string) Shade // nil for plain
}

// Table prints rows under a heading, each column as wide as it must be, but
// the last, which is as long as its text. On a terminal it fits, if need be with
// long cells shortened and columns dropped: cells that differ still do.
func (p Page) Table(columns []Column, rows [][]string) {
	cells := make([][]string, len(columns)) // by column, the heading first
	for i, c := range columns {
		cells[i] = append(cells[i], c.Name)
		for _, row := range rows {
			cells[i] = append(cells[i], Escape(row[i]))
		}
	}
	for p.Width > 0 {
		over := -2 - p.Width
		for i := range cells {
			over += widest(cells[i]) + 2
		}
		short, last := slices.Clone(cells), 0
		for i, c := range slices.Backward(columns) {
			if w := widest(cells[i]); c.Least > 0 && over > 0 && w > c.Least {
				short[i] = Shorten(cells[i], max(c.Least, w-over))
				over -= w - widest(short[i])
			}
			if c.Rank > columns[last].Rank {
				last = i
			}
		}
		if over <= 0 || columns[last].Rank == 0 {
			cells = short
			break
		}
		cells, columns = slices.Delete(cells, last, last+1), slices.Delete(slices.Clone(columns), last, last+1)
	}
	for r := range len(rows) + 1 {
		line := ""
		for i, c := range columns {
			cell, shade := cells[i][r], Plain
			switch {
			case r == 0:
				shade = Dim
			case c.Shade != nil:
				shade = c.Shade(cell)
			}
			pad := strings.Repeat(" ", widest(cells[i])-Width(cell))
			if c.Number {
				cell = pad + cell
			} else {
				cell += pad
			}
			line += string(p.In(shade, cell)) + "  "
		}
		p.Printf("%s\n", Text(strings.TrimRight(line, " ")))
	}
}

func widest(cells []string) (columns int) {
	for _, cell := range cells {
		columns = max(columns, Width(cell))
	}
	return columns
}

// Shorten cuts what is longer than most columns in the middle, all texts at the
// same place, where what differs still does after it. If there is none such, they get
// more columns.
func Shorten(texts []string, most int) []string {
	for ; ; most++ {
		for shift := range most {
			head := most/2 + (shift+1)/2*(1-shift%2*2) // from the middle to both ends
			short, of := make([]string, len(texts)), map[string]string{}
			distinct := true
			for i, text := range texts {
				short[i] = text
				if runes := []rune(text); len(runes) > most {
					short[i] = string(runes[:head]) + "…" + string(runes[len(runes)-(most-1-head):])
				}
				was, ok := of[short[i]]
				distinct = distinct && (!ok || was == text)
				of[short[i]] = text
			}
			if distinct {
				return short
			}
		}
	}
}
