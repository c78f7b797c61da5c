package table

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"signalpost/queue"
	"signalpost/transform"
)

// Deliveries of a route have an order key as order_by says; what it cannot make one of is dead.
func TestOrder(t *testing.T) {
	for _, test := range []struct{ expression, want string }{
		{".account.name", `"Acme Corp"`},
		{".confidence", "92e-2"},
		{"1", "1"}, {"1.0", "1"}, {"100e-2", "1"}, {"-0.0", "0"}, {"0e9", "0"}, {"10", "1e1"}, {"1e1", "1e1"}, {"-1.50", "-15e-1"}, {`"1"`, `"1"`},
		{"12345678901234567890", "1234567890123456789e1"}, {"12345678901234567891", "12345678901234567891"},
		{`""`, `""`}, {`"` + strings.Repeat("x", 1024) + `"`, `"` + strings.Repeat("x", 1024) + `"`},
		{"null", ""}, {"empty", ""}, {".missing", ""}, {"null, 1", ""}, {"1, 2", "1"}, {"range(200)", "0"}, {"1, error", "1"},
		{`"x" * 1025`, "dead: order_by: its result has 1025 bytes, more than the 1024 of an order key"},
		{"true", "dead: order_by: its result is neither a string nor a number nor null"},
		{"[1]", "dead: order_by: its result is neither a string nor a number nor null"},
		{".account[0]", `dead: order_by: expected an array but got: object ({"name":"Acme Corp"})`},
		{"last(range(1e12))", "dead: order_by: the expression ran for more than 100 ms"},
		{"[range(1000)]", "dead: order_by: its result is neither a string nor a number nor null"},
	} {
		table := tableOf(t, routesOf("crm\norder_by = '"+test.expression+"'\ntransform = '1, 2'"))
		made := offeredTo(t, table, sample)
		again, err := table.Reshape(queue.Signal{ID: sampleID, Type: "product_qualified_lead", Body: []byte(sample)}, "crm")
		if err != nil {
			t.Error(err)
		}
		for i, m := range append(made, again...) {
			got := m.Order
			if m.Error != "" {
				got = "dead: " + m.Error
			}
			if got != test.want {
				t.Errorf("%s: delivery %d has %s, want %s", test.expression, i, got, test.want)
			}
		}
		if dead := strings.HasPrefix(test.want, "dead"); len(made) != map[bool]int{true: 1, false: 2}[dead] {
			t.Errorf("%s: makes %d deliveries", test.expression, len(made))
		}
	}
}

// What has an order need not have anything else, and a signal that does not pass has none.
func TestOrderAlone(t *testing.T) {
	table := tableOf(t, routesOf("crm\norder_by = '.account.name'", "other\nwhere = 'false'\norder_by = 'error'", "none"))
	var got []string
	for _, m := range offeredTo(t, table, sample) {
		got = append(got, m.Route+" "+m.Order+" "+m.Shape+m.Error)
	}
	if s := strings.Join(got, "|"); s != `crm "Acme Corp" |none  ` {
		t.Error(s)
	}
	again, err := table.Reshape(queue.Signal{ID: sampleID, Type: "t", Body: []byte(sample)}, "crm")
	if err != nil || len(again) != 1 || again[0].Order != `"Acme Corp"` {
		t.Errorf("made anew: %+v, %v", again, err)
	}
	use := transform.NewSession(t.Context(), transform.ForTries)
	defer use.Close()
	trials, err := table.Try(t.Context(), use, &queue.Signal{ID: sampleID, Type: "t", Body: []byte(sample)}, "crm", nil, nil)
	if err != nil || trials[0].Order != `"Acme Corp"` {
		t.Errorf("%+v, %v", trials, err)
	}
}

// FuzzOrderKey: two numbers have one key exactly if they are equal.
func FuzzOrderKey(f *testing.F) {
	for _, s := range []string{"1 1.0", "0 -0", "1e2 100", "0.10 1e-1", "-5 5", "123.4500e-3 0.12345", "9e99999999 1", "1e999999999999999999999 1e1"} {
		a, b, _ := strings.Cut(s, " ")
		f.Add(a, b)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		var keys []string
		var values []*big.Rat
		for _, text := range []string{a, b} {
			if !json.Valid([]byte(text)) || strings.TrimSpace(text) != text || strings.IndexByte("-0123456789", text[0]) < 0 {
				return
			}
			key, err := orderKey([]byte(text))
			if err != nil {
				return
			}
			if again, err := orderKey([]byte(key)); again != key || err != nil {
				t.Errorf("%s has the key %s, and that %s, %v", text, key, again, err)
			}
			_, power, _ := strings.Cut(strings.ToLower(text), "e")
			if n, ok := new(big.Int).SetString(strings.TrimPrefix(power, "+"), 10); power != "" && (!ok || !n.IsInt64() || n.Int64() > 1000 || n.Int64() < -1000) {
				return
			}
			v, ok := new(big.Rat).SetString(text)
			if !ok {
				t.Fatal(fmt.Sprint(text, " is no number"))
			}
			keys, values = append(keys, key), append(values, v)
		}
		if (keys[0] == keys[1]) != (values[0].Cmp(values[1]) == 0) {
			t.Errorf("%s has the key %s, and %s %s", a, keys[0], b, keys[1])
		}
	})
}

// An order alone is of the signal as well, also when it is made anew.
func TestOrderMadeAnew(t *testing.T) {
	table := tableOf(t, routesOf("crm\norder_by = '.account.name + $signal_type'"))
	want := offeredTo(t, table, sample)[0].Order
	made, err := table.Reshape(queue.Signal{ID: sampleID, Type: "product_qualified_lead", Body: []byte(sample)}, "crm")
	if err != nil || len(made) != 1 || made[0].Order != want || !strings.Contains(want, "Acme Corpproduct_qualified_lead") {
		t.Errorf("%+v, %v; want order %q", made, err, want)
	}
}
