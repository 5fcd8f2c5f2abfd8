package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What is written is read back; what is too short or too long is refused.
func TestFields(t *testing.T) {
	type all struct {
		N     uint64
		Time  int64
		Small uint64
		Flag  bool
		Text  string
		List  []uint64
	}
	c := fields[all]{"all", func(c *coder, a *all) {
		c.number(&a.N)
		c.time(&a.Time)
		c.small(&a.Small)
		c.flag(&a.Flag)
		c.text(&a.Text)
		list(c, &a.List, (*coder).number)
	}}
	for _, v := range []all{{List: []uint64{}}, {1 << 63, -5, 1 << 40, true, "text", []uint64{7, 8}}} {
		b, err := c.Append([]byte("before"), v)
		require.NoError(t, err)
		b = b[len("before"):]
		back, err := c.Decode(b)
		require.NoError(t, err)
		require.Equal(t, v, back)
		for n := range len(b) {
			_, err := c.Decode(b[:n])
			require.Error(t, err, "%d of %d bytes", n, len(b))
		}
		_, err = c.Decode(append(b, 0))
		require.Error(t, err)
	}
}

// What is made of numbers is written as fields would write them.
func TestWords(t *testing.T) {
	type numbers struct {
		A uint64
		B int64
	}
	c, as := words[numbers]{"numbers"}, fields[numbers]{"numbers", func(c *coder, n *numbers) {
		c.number(&n.A)
		c.time(&n.B)
	}}
	for _, v := range []numbers{{}, {1 << 63, -5}} {
		b, err := c.Append([]byte("before"), v)
		require.NoError(t, err)
		want, err := as.Append([]byte("before"), v)
		require.NoError(t, err)
		require.Equal(t, want, b)
		back, err := c.Decode(b[len("before"):])
		require.NoError(t, err)
		require.Equal(t, v, back)
		_, err = c.Decode(b)
		require.Error(t, err)
	}
}
