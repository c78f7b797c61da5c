package queue

// Glob reports whether s is what the pattern describes: * is any run of bytes,
// ? any one byte, all else itself.
func Glob(pattern, s string) bool {
	// Where to go on from when a byte does not fit: the last * seen takes one more.
	star, rest := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, rest = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			rest++
			p, i = star+1, rest
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
