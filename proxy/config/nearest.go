package config

// Nearest returns the option that a name was probably meant to be, or "".
func Nearest(name string, options []string) string { return nearest(name, options) }
