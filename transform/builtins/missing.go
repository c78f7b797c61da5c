package builtins

// Denied is what an expression must not do, by the functions that do it.
var Denied = map[string]string{
	"env": "read the environment",

	"input": "read input", "inputs": "read input", "input_filename": "read input",
	"input_line_number": "read input",

	"debug": "write to the terminal", "stderr": "write to the terminal",
	"halt": "end the process", "halt_error": "end the process",

	"modulemeta": "read files", "get_search_list": "read files",
	"builtins": "list functions",
}

// Missing is what to write in place of a function of jq that gojq lacks, by its
// name and number of arguments.
var Missing = map[string]string{
	"keys_unsorted/0":        "write keys; members are always sorted",
	"toarray/0":              `write if type == "array" then . else [.] end`,
	"ascii/0":                "write [.] | implode",
	"@base32/0":              "write @base64",
	"@base32d/0":             "write @base64d",
	"leaf_paths/0":           "write paths(scalars)",
	"recurse_down/0":         "write recurse",
	"date/0":                 "write todate",
	"dateadd/2":              "write + and the seconds",
	"datesub/2":              "write - and the seconds",
	"pow10/0":                "write exp10",
	"lgamma_r/0":             "write lgamma",
	"have_decnum/0":          "leave it out; numbers keep their digits unless they are computed on",
	"have_literal_numbers/0": "leave it out; numbers keep their digits unless they are computed on",
	"get_prog_origin/0":      "an expression has no file",
	"get_jq_origin/0":        "an expression has no file",
}
