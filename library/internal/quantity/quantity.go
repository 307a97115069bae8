// Package quantity has the amounts of resources as Kubernetes writes them.
package quantity

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Quantity is an amount of a resource as Kubernetes writes it: "500m", "1Gi",
// "1.5", 2, "1e3". It is exact, and keeps the text that it came from. As in
// Kubernetes it is rounded up to a billionth, and bounded by 2^63-1. The zero
// value is zero.
//
// Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/.
type Quantity struct {
	text  string
	nanos *big.Int // nil for zero
	err   error    // of what UnmarshalJSON has taken; the amount is zero then
}

// Parse parses a quantity. The error quotes the text.
func Parse(text string) (Quantity, error) {
	nanos, err := parseNanos(text)
	if err != nil {
		return Quantity{}, fmt.Errorf("%q: %w", text, err)
	}
	return Quantity{text: text, nanos: nanos}, nil
}

// UnmarshalJSON takes a string or a number. What it cannot parse is an error of
// Err, since only the settings know what the amount is called.
func (q *Quantity) UnmarshalJSON(raw []byte) error {
	text := string(raw)
	switch raw[0] {
	case 'n': // null is as good as nothing
		return nil
	case '"':
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
	case '{', '[', 't', 'f':
		q.err = fmt.Errorf("%s: want a string or a number", raw)
		return nil
	}
	parsed, err := Parse(text)
	if err == nil && parsed.sign() < 0 {
		err = fmt.Errorf("%q: want an amount of 0 or more", text)
	}
	if err != nil {
		parsed = Quantity{err: err}
	}
	*q = parsed
	return nil
}

// SettingsSchema is that of the texts and numbers that UnmarshalJSON takes and
// that are not less than zero.
func (Quantity) SettingsSchema() string {
	return `{"type": ["string", "number"], "minimum": 0,
		"pattern": "^[+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$"}`
}

// Err says what is wrong with the text that UnmarshalJSON has taken, nil if
// nothing is.
func (q Quantity) Err() error { return q.err }

// IsZero reports whether the amount is nothing, however it is written.
func (q Quantity) IsZero() bool { return q.sign() == 0 }

func (q Quantity) sign() int { return q.value().Sign() }

func (q Quantity) value() *big.Int {
	if q.nanos == nil {
		return new(big.Int)
	}
	return q.nanos
}

// Compare returns -1, 0 or +1 as q is less than, equal to or greater than
// other.
func (q Quantity) Compare(other Quantity) int { return q.value().Cmp(other.value()) }

// Minus returns q less other, written in the manner of q, or of other when q is
// zero.
func (q Quantity) Minus(other Quantity) Quantity {
	manner := q
	if q.IsZero() {
		manner = other
	}
	return written(new(big.Int).Sub(q.value(), other.value()), strings.HasSuffix(manner.text, "i"))
}

// Plus returns q and other together, written in the manner of q, or of other
// when q is zero.
func (q Quantity) Plus(other Quantity) Quantity {
	manner := q
	if q.IsZero() {
		manner = other
	}
	return written(new(big.Int).Add(q.value(), other.value()), strings.HasSuffix(manner.text, "i"))
}

// written returns the amount with the largest suffix that needs no fraction:
// one of powers of two if it may be, unless the amount is less than 1Ki.
func written(nanos *big.Int, binary bool) Quantity {
	suffixes, factor, number := []string{"n", "u", "m", "", "k", "M", "G", "T", "P", "E"}, big.NewInt(1000), new(big.Int).Set(nanos)
	kibi := big.NewInt(1024 * 1_000_000_000)
	if whole, rest := new(big.Int).QuoRem(nanos, big.NewInt(1_000_000_000), new(big.Int)); binary && rest.Sign() == 0 && nanos.CmpAbs(kibi) >= 0 {
		suffixes, factor, number = []string{"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"}, big.NewInt(1024), whole
	}
	for len(suffixes) > 1 && number.Sign() != 0 {
		quotient, rest := new(big.Int).QuoRem(number, factor, new(big.Int))
		if rest.Sign() != 0 {
			break
		}
		number, suffixes = quotient, suffixes[1:]
	}
	if number.Sign() == 0 {
		return Quantity{text: "0"}
	}
	return Quantity{text: number.String() + suffixes[0], nanos: nanos}
}

// String is the text that the quantity came from.
func (q Quantity) String() string { return q.text }

const (
	// maxQuantityBytes bounds the text, so that nobody makes the policy multiply
	// for long. The largest amount in billionths has 28 digits.
	maxQuantityBytes = 128
	// maxPower bounds the power of ten by which a number of maxQuantityBytes
	// digits is worth multiplying: above it every amount but zero is beyond the
	// bounds, below its negative it is less than a billionth.
	maxPower = 2 * maxQuantityBytes
)

var errQuantity = errors.New(`want a number with one of the suffixes n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei, ` +
	`or an exponent as in 1e3, or none`)

// parseNanos returns the amount in billionths.
func parseNanos(text string) (*big.Int, error) {
	if len(text) > maxQuantityBytes {
		return nil, fmt.Errorf("longer than %d bytes", maxQuantityBytes)
	}
	unsigned := strings.TrimPrefix(strings.TrimPrefix(text, "+"), "-")
	if len(text)-len(unsigned) > 1 {
		return nil, errQuantity
	}
	number := unsigned[:len(unsigned)-len(strings.TrimLeft(unsigned, "0123456789."))]
	whole, fraction, _ := strings.Cut(number, ".")
	digits, ok := new(big.Int).SetString(whole+fraction, 10)
	if !ok || strings.Contains(fraction, ".") {
		return nil, errQuantity
	}
	two, ten, ok := suffix(unsigned[len(number):])
	if !ok {
		return nil, errQuantity
	}
	nanos := scale(digits.Lsh(digits, two), ten-int64(len(fraction))+9)
	if limit := maxNanos(); nanos.Cmp(limit) > 0 {
		nanos = limit
	}
	if text[0] == '-' {
		nanos.Neg(nanos)
	}
	return nanos, nil
}

// suffix returns the powers of two and of ten that a suffix stands for.
func suffix(s string) (two uint, ten int64, ok bool) {
	if len(s) == 2 && s[1] == 'i' {
		i := strings.IndexByte("KMGTPE", s[0])
		return uint(10 * (i + 1)), 0, i >= 0
	}
	if len(s) > 1 && (s[0] == 'e' || s[0] == 'E') {
		n, err := strconv.ParseInt(s[1:], 10, 64)
		n = max(-maxPower, min(maxPower, n))
		return 0, n, err == nil || errors.Is(err, strconv.ErrRange)
	}
	switch s {
	case "":
		return 0, 0, true
	case "n":
		return 0, -9, true
	case "u":
		return 0, -6, true
	case "m":
		return 0, -3, true
	}
	i := strings.Index("kMGTPE", s)
	return 0, int64(3 * (i + 1)), len(s) == 1 && i >= 0
}

// scale multiplies n, which is not negative, by a power of ten and rounds up.
func scale(n *big.Int, power int64) *big.Int {
	ten := big.NewInt(10)
	if power >= 0 {
		return n.Mul(n, ten.Exp(ten, big.NewInt(power), nil))
	}
	quotient, rest := n.QuoRem(n, ten.Exp(ten, big.NewInt(-power), nil), new(big.Int))
	if rest.Sign() > 0 {
		quotient.Add(quotient, big.NewInt(1))
	}
	return quotient
}

// maxNanos is the largest amount. Source: k8s.io/apimachinery, pkg/api/resource,
// "no quantity may be greater than 2^63-1 in magnitude".
func maxNanos() *big.Int {
	return new(big.Int).Mul(big.NewInt(math.MaxInt64), big.NewInt(1_000_000_000))
}
