package codec_test

import (
	"fmt"

	"github.com/millstream-go/millstream/stream/codec"
)

func ExampleJSON() {
	type Order struct {
		ID    string `json:"id"`
		Cents int64  `json:"cents"`
	}
	c := codec.JSON[Order]()
	b, _ := c.Append(nil, Order{"o-1", 1250})
	o, _ := c.Decode(b)
	fmt.Println(c.Name(), string(b), o.Cents)
	// Output: json {"id":"o-1","cents":1250} 1250
}

// A key of a type derived from string has the bytes of the string.
func ExampleDefaultKey() {
	type CardID string
	c, _ := codec.DefaultKey[CardID]()
	b, _ := c.Append(nil, "card-7")
	fmt.Println(c.Name(), string(b))

	_, err := codec.DefaultKey[struct{ City, Street string }]()
	fmt.Println(err)
	// Output:
	// string card-7
	// no key codec for struct { City string; Street string }: keys without one are strings, integers and [16]byte; name a codec for others
}

// Celsius is a temperature in tenths of a degree.
type Celsius int16

// celsius is a codec of one's own: three methods.
type celsius struct{}

func (celsius) Append(dst []byte, v Celsius) ([]byte, error) {
	return append(dst, byte(v>>8), byte(v)), nil
}

func (celsius) Decode(b []byte) (Celsius, error) {
	if len(b) != 2 {
		return 0, fmt.Errorf("temperature of %d bytes", len(b))
	}
	return Celsius(b[0])<<8 | Celsius(b[1]), nil
}

func (celsius) Name() string { return "celsius-1" }

func ExampleCodec() {
	var c codec.Codec[Celsius] = celsius{}
	b, _ := c.Append(nil, -125)
	v, _ := c.Decode(b)
	_, err := c.Decode([]byte("warm"))
	fmt.Println(v, err)
	// Output: -125 temperature of 4 bytes
}
