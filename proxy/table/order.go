package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// maxOrder is how long an order key may be, in bytes.
const maxOrder = 1 << 10

// orderKey is the order key that a result of order_by stands for, in JSON: a string, or a
// number in the one way of writing it; "" is none.
func orderKey(result []byte) (string, error) {
	switch text := string(result); {
	case text == "" || text == "null":
		return "", nil
	case text[0] == '"':
		var key string
		if err := json.Unmarshal(result, &key); err != nil {
			return "", err
		}
		if len(key) > maxOrder {
			return "", fmt.Errorf("its result has %d bytes, more than the %d of an order key", len(key), maxOrder)
		}
		return text, nil
	case strings.IndexByte("-0123456789", text[0]) >= 0:
		if len(text) > maxOrder {
			return "", fmt.Errorf("its result has %d digits, more than the %d of an order key", len(text), maxOrder)
		}
		return PlainNumber(text)
	}
	return "", errors.New("its result is neither a string nor a number nor null")
}

// PlainNumber writes a number of JSON in one way: its digits without zeros at either
// end, and what power of ten the last of them counts, unless that is the zeroth.
func PlainNumber(text string) (string, error) {
	number, power, _ := strings.Cut(strings.ToLower(text), "e")
	whole, part, _ := strings.Cut(number, ".")
	sign, whole := whole[:len(whole)-len(strings.TrimPrefix(whole, "-"))], strings.TrimPrefix(whole, "-")
	digits := strings.TrimLeft(whole+part, "0")
	if digits == "" {
		return "0", nil
	}
	exponent := new(big.Int)
	if _, ok := exponent.SetString(strings.TrimPrefix(power, "+"), 10); power != "" && !ok {
		return "", fmt.Errorf("the exponent of %.20s is no number", text)
	}
	short := strings.TrimRight(digits, "0")
	exponent.Add(exponent, big.NewInt(int64(len(digits)-len(short)-len(part))))
	if exponent.Sign() == 0 {
		return sign + short, nil
	}
	return sign + short + "e" + exponent.String(), nil
}
