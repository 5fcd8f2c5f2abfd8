package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
)

// Keys encrypt a state directory. They are kept by whoever runs the application, never on the disk.
type Keys struct {
	// Current encrypts what is written: 32 random bytes. Nil: nothing is encrypted.
	Current []byte
	// Old are keys that were current before. What they have encrypted is encrypted anew at the next start, after which
	// they are needed only for snapshots from before.
	Old [][]byte
}

// Check returns what is wrong with the keys.
func (k Keys) Check() error {
	if k.Current == nil && len(k.Old) > 0 {
		return errors.New("there are old keys and no current one: set Current")
	}
	for _, key := range k.all() {
		if len(key) != keyLen {
			return fmt.Errorf("a key has %d bytes: it must have %d", len(key), keyLen)
		}
	}
	return nil
}

// String shows no key.
func (k Keys) String() string { return fmt.Sprintf("%d keys [redacted]", len(k.all())) }

// GoString is String.
func (k Keys) GoString() string { return k.String() }

// Format prints keys without their bytes, whatever the verb.
func (k Keys) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// LogValue implements slog.LogValuer, without the keys.
func (k Keys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON describes keys without their bytes.
func (k Keys) MarshalJSON() ([]byte, error) { return []byte(`"` + k.String() + `"`), nil }

func (k Keys) all() [][]byte {
	if k.Current == nil {
		return k.Old
	}
	return append([][]byte{k.Current}, k.Old...)
}

const keyLen = 32

// keyID names a key without giving it away.
type keyID [8]byte

func (id keyID) String() string { return hex.EncodeToString(id[:]) }

func idOf(key []byte) (id keyID) {
	copy(id[:], sum(key, "millstream key id", nil, len(id)))
	return id
}

// sum derives bytes from a key, different ones for each purpose and salt (HKDF-SHA-256, RFC 5869).
func sum(key []byte, purpose string, salt []byte, n int) []byte {
	b, err := hkdf.Key(sha256.New, key, salt, purpose, n)
	if err != nil {
		return nil // only for lengths that nobody asks for, or a key too short for FIPS mode; the cipher refuses it then
	}
	return b
}

// find returns the key of an id.
func (k Keys) find(id keyID) ([]byte, error) {
	all := k.all()
	if i := slices.IndexFunc(all, func(key []byte) bool { return idOf(key) == id }); i >= 0 {
		return all[i], nil
	}
	return nil, fmt.Errorf("%w: it was encrypted with the key %v, which is not among the %d that were given: add it to the old keys", ErrKey, id, len(all))
}

// block is the cipher of a file: AES-256 under a key of the file's own, so that no key stream is used twice.
func block(key, salt []byte) (cipher.Block, error) {
	return aes.NewCipher(sum(key, "millstream file", salt, keyLen))
}

// authenticate returns a code for a text that cannot be made without the key.
func authenticate(key, text []byte) []byte {
	h := hmac.New(sha256.New, sum(key, "millstream manifest", nil, keyLen))
	h.Write(text)
	return h.Sum(nil)
}
