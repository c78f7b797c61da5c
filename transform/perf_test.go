package transform

import (
	stdjson "encoding/json"
	"testing"

	"github.com/itchyny/gojq"

	"signalpost/transform/json"
)

const sample = `{
  "signal_type": "product_qualified_lead",
  "confidence": 0.92,
  "source": "posthog",
  "hypothesis_id": "hyp_8g2k",
  "account": { "name": "Acme Corp", "domain": "acme.com" },
  "events": ["visited_pricing_page", "invited_team_member", "api_key_created"],
  "enrichment": { "company_size": "50-200", "industry": "SaaS" },
  "detected_at": "2026-04-29T14:31:08Z"
}`

const (
	sampleWhere = `.confidence >= 0.8`
	sampleShape = `{
  company: .account.name,
  domain: .account.domain,
  score: (.confidence * 100 | round),
  events: (.events | length),
  industry: .enrichment.industry,
  at: .detected_at
}`
)

var sampleVars = Vars{"sig_01JT0000000000000000000000", "2026-04-29T14:31:08.123Z", "crm", "product_qualified_lead", nil}

func compiled(t testing.TB, src string) *Program {
	t.Helper()
	p, err := Compile(src)
	if err != nil {
		t.Fatalf("Compile(%.200s): %v", src, err)
	}
	return p
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		compiled(b, sampleShape)
	}
}

func BenchmarkMatch(b *testing.B) {
	v := decoded(b, sample)
	for name, src := range map[string]string{"sample": sampleWhere, "regexp": `.account.domain | test("acme\\.(com|org)$")`} {
		b.Run(name, func(b *testing.B) {
			p := compiled(b, src)
			b.ReportAllocs()
			for b.Loop() {
				if ok, err := p.Match(nil, v, sampleVars); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}

func BenchmarkShape(b *testing.B) {
	v := decoded(b, sample)
	b.Run("sample", func(b *testing.B) {
		p := compiled(b, sampleShape)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.Shape(nil, v, sampleVars); err != nil {
				b.Fatal(err)
			}
		}
	})
	const long = `[range(10000) | {a: ., b: "x\(.)"}] | map(.a) | add`
	b.Run("long/stock", func(b *testing.B) {
		q, _ := gojq.Parse(long)
		code, _ := gojq.Compile(q)
		b.ReportAllocs()
		for b.Loop() {
			code.Run(v).Next()
		}
	})
	b.Run("long", func(b *testing.B) {
		p := compiled(b, long)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.Shape(nil, v, sampleVars); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Decode, filter, transform: what one signal costs a route.
func BenchmarkSignal(b *testing.B) {
	where, shape := compiled(b, sampleWhere), compiled(b, sampleShape)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v, _ := json.Decode([]byte(sample))
			if ok, err := where.Match(nil, v, sampleVars); !ok || err != nil {
				b.Fatal(ok, err)
			}
			if _, err := shape.Shape(nil, v, sampleVars); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("stock", func(b *testing.B) {
		code := func(src string) *gojq.Code {
			q, _ := gojq.Parse(src)
			c, _ := gojq.Compile(q)
			return c
		}
		where, shape := code(sampleWhere), code(sampleShape)
		b.ReportAllocs()
		for b.Loop() {
			v := decoded(b, sample)
			if ok, _ := where.Run(v).Next(); ok != true {
				b.Fatal(ok)
			}
			w, _ := shape.Run(v).Next()
			if _, err := stdjson.Marshal(w); err != nil {
				b.Fatal(err)
			}
		}
	})
}
