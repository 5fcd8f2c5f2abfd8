package codec_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/stream/codec"
)

func TestVersion(t *testing.T) {
	first := codec.String
	second := codec.Version(2, codec.Int64, codec.From(first, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }), codec.Compatible[int64]("int64"))
	third := codec.Version(3, codec.JSON[[]int64](), codec.From(second, func(n int64) ([]int64, error) {
		if n < 0 {
			return nil, errors.New("negative")
		}
		return []int64{n}, nil
	}))
	assert.Equal(t, "json v3", third.Name())
	two, err := second.Append(nil, 7)
	require.NoError(t, err)
	for name, b := range map[string][]byte{"json v3": []byte("[7]"), "int64 v2": two, "int64": two, "string": []byte("7")} {
		read := codec.Reader(third, name)
		require.NotNil(t, read, name)
		v, err := read(b)
		require.NoError(t, err, name)
		assert.Equal(t, []int64{7}, v, name)
	}
	assert.Nil(t, codec.Reader(third, "json"), "another version")
	assert.Nil(t, codec.Reader(third, "json v2"))
	assert.Nil(t, codec.Reader(codec.String, "bytes"), "a codec that does not evolve")
	_, err = codec.Reader(third, "string")([]byte("-7"))
	require.EqualError(t, err, "migrate from int64 v2: negative")
	_, err = codec.Reader(third, "string")([]byte("x"))
	require.ErrorContains(t, err, "migrate from string: ")
}

// What was a name becomes a first and a last one.
func ExampleVersion() {
	type first struct{ Name string }
	type second struct{ First, Last string }
	c := codec.Version(2, codec.JSON[second](), codec.From(codec.JSON[first](), func(p first) (s second, err error) {
		_, err = fmt.Sscan(p.Name, &s.First, &s.Last)
		return s, err
	}))

	p, err := codec.Reader(c, "json")([]byte(`{"Name":"Ada Lovelace"}`))
	fmt.Println(p.Last, err, c.Name())
	// Output: Lovelace <nil> json v2
}
